"""Small data for every figure, and helpers to read drawings, for tests of all figures."""

from functools import cache
from pathlib import Path

import numpy as np

from qpsim import figures
from qpsim.figures.data import Data

# Small values of the options that figures have in common; a new figure needs nothing here.
FEW = {
    "n_replicates": 4,
    "n_draws": 2,
    "n_steps": 6,
    "dim": 5,
    "rounds": 1,
    "dims": (3, 5, 9, 12),
    "replicate_counts": (1, 2, 4, 8, 16),
    "step_counts": (1, 2, 4, 8, 16),
    "worker_counts": (1, 2),
    "noise_std": None,
    "condition": (1.0, 10.0, 100.0),
    "tau": (0.0, 0.5, 1.0),
}
NETWORKS = ("3", "6", "7")
# These compile kernels of many kinds, or search for seconds: drawn from the repository's own data.
PUBLISHED = ("batch", "least-squares", "methods", "schedules", "sensitivity")


@cache
def data(name):
    """The data of a figure, computed in a moment; others are made up, or those of the published picture."""
    if name in NETWORKS:
        return networks(name)
    if name == "conformance":
        return conformance()
    if name == "conditions":
        return conditions()
    if name == "factors":
        return factors()
    if name in PUBLISHED:
        return published(name)
    known = figures.module(name).Options.names()
    few = {key: value for key, value in FEW.items() if key in known and value is not None}
    if name == "phase":
        few["noise_std"] = (0.1, 1.0, 4.0)
    if name == "tails":
        # Degrees of freedom that are no whole numbers take kernels of their own.
        few["df"] = (4.0,)
    return figures.compute(name, workers=1, **few)


def published(name):
    """The data of the repository's own picture."""
    return figures.load(Path(__file__).parents[2] / "figures", name)


def conformance():
    """A table of optimizers as it might be; the packages need not be installed."""
    said = [
        "equals sgd() on 34 streams and in 3 laws",
        "equals adam(b1=0.9, b2=0.999, eps=1e-08) with eps inside the root, except on stream 'float16' "
        "(half precision), where it differs from step 1 on, by 0.01",
        "differs from all known variants from step 2 on, by 0.003",
    ]
    arrays = {
        "conforms": np.array([1.0, 0.0, 0.0]),
        "streams": np.array([[34.0, 0.0, 0.0], [33.0, 1.0, 0.0], [4.0, 26.0, 4.0]]),
        "law": np.array([[0.1, -1.2, 0.7], [np.nan] * 3, [np.nan] * 3]),
    }
    axes = {
        "conforms": ["optimizer"],
        "streams": ["optimizer", "outcome"],
        "law": ["optimizer", "law"],
    }
    labels = {
        "optimizer": ["torch SGD", "torch Adam", "optax yogi"],
        "outcome": ["passed", "differs", "not applicable"],
        "package": ["torch", "torch", "optax"],
        "name": ["SGD", "Adam", "yogi"],
        "version": ["2.0", "2.0", "0.2"],
        "method": ["sgd", "adam", "yogi"],
        "rule": ["sgd()", "adam(b1=0.9, b2=0.999, eps=1e-08)", "yogi()"],
        "diagnosis": said,
        "snippet": ["", "", "import optax"],
        "missing": ["timm"],
        "why_missing": ["not installed"],
    }
    return Data("conformance", figures.module("conformance").Options(), arrays, axes, labels)


def conditions(by_layer=True, n_points=4, seed=0):
    """Points of three trainings as they might be: numbers of any size, some infinite, a run that ends early."""
    module = figures.module("conditions")
    generator = np.random.default_rng(seed)
    shape = (len(module.PROBLEMS), n_points)

    def estimates(low, high, *own):
        middle = np.exp(generator.uniform(np.log(low), np.log(high), (*shape, *own)))
        return middle[..., None] * np.array([1.0, 0.8, 1.3])

    share = np.linspace(1.0, 0.01, len(module.LEVELS)) * np.array([[0.6], [0.3]])
    arrays = {
        "step": np.linspace(0, 60, n_points).round().astype(int),
        "loss": generator.uniform(0.1, 2.0, shape),
        "mass": estimates(1e-3, 0.3),
        "extreme": np.broadcast_to([-0.5, 2.0], (*shape, 2)).copy(),
        "large_share": estimates(0.001, 0.3),
        "spectrum": np.broadcast_to(share, (*shape, *share.shape)).copy(),
        "relative_variance": np.sort(np.exp(generator.uniform(-2.0, 5.0, (*shape, 5)))),
        "noise_scale": estimates(0.1, 9.0),
        "improvement": estimates(0.001, 1.0, 2),
        "realised": estimates(0.001, 1.0, 2),
        "predicted": generator.uniform(0.1, 1.0, (*shape, 2)),
        "ratio": estimates(0.3, 9.0),
        "race": np.log(estimates(0.5, 3.0)),
    }
    arrays["relative_variance"][0, :, 3:] = np.inf
    arrays["improvement"][1, 2, 0] = np.inf
    arrays["ratio"][1, 2] = np.nan
    axes = {name: ["problem", "point"] for name in arrays} | {"step": ["point"]}
    own = {
        "extreme": ["end"], "spectrum": ["sign", "level"], "relative_variance": ["quantile"],
        "improvement": ["method", "estimate"], "realised": ["method", "estimate"],
        "predicted": ["method"],
    }  # fmt: skip
    for name in ("mass", "large_share", "noise_scale", "ratio", "race"):
        own[name] = ["estimate"]
    layers = [
        ["dense1.weight", "dense1.bias"],
        ["conv1.weight", "dense2.weight"],
        ["dense1.weight"],
    ]
    if by_layer:
        arrays["layer_mass"] = estimates(1e-3, 0.5, 2)
        axes["layer_mass"], own["layer_mass"] = ["problem", "point"], ["layer", "estimate"]
    for name, more in own.items():
        axes[name] = [*axes[name], *more]
    for name, array in arrays.items():
        if name != "step":
            array[2, -1] = np.nan
    labels = {
        "problem": list(module.PROBLEMS), "method": list(module.METHODS),
        "estimate": ["value", "low", "high"], "sign": ["positive", "negative"],
        "level": list(module.LEVELS), "end": ["smallest", "largest"],
        "quantile": [0.05, 0.25, 0.5, 0.75, 0.95],
        "layers": layers if by_layer else [[], [], []],
    }  # fmt: skip
    options = module.Options(n_points=n_points, last_step=60, by_layer=by_layer)
    return Data("conditions", options, arrays, axes, labels)


def factors(n_steps=6, seed=0):
    """Adaptation factors as they might be: each of the six rules would take 20 seconds to compile."""
    module = figures.module("factors")
    generator = np.random.default_rng(seed)
    methods, levels = list(module.METHODS), list(module.LEVELS)
    quantiles = (len(methods), len(levels), n_steps)
    arrays = {
        "factor": np.sort(generator.uniform(0.2, 1.0, quantiles), axis=1),
        "oracle": np.sort(generator.uniform(0.1, 0.9, quantiles), axis=1),
        "distance": generator.uniform(0.0, 0.5, (len(methods), n_steps)),
        "excess_loss": np.sort(generator.uniform(1.0, 9.0, (len(methods), n_steps + 1)))[:, ::-1],
    }
    axes = {
        "factor": ["method", "level", "step"],
        "oracle": ["method", "level", "step"],
        "distance": ["method", "step"],
        "excess_loss": ["method", "point"],
    }
    options = module.Options(n_steps=n_steps, dim=5)
    return Data("factors", options, arrays, axes, {"method": methods, "level": levels})


def networks(name, replicates=4, evaluations=7, seed=0):
    """Data of a figure on networks as they might be: losses that fall, with some spread."""
    module = figures.module(name)
    generator = np.random.default_rng(seed)
    problems, methods = module.PROBLEMS, module.METHODS
    shape = (len(problems), len(methods), replicates)
    arrays = {
        "test_accuracy": generator.uniform(0.85, 0.95, shape),
        "test_loss": generator.uniform(0.2, 0.3, shape),
        "mean_loss": generator.uniform(0.9, 1.1, shape),
        "early_loss": generator.uniform(1.2, 1.5, shape),
        "step_size": np.full(shape[:2], 0.1),
    }
    axes = {key: ["problem", "method", "replicate"] for key in arrays}
    axes["step_size"] = ["problem", "method"]
    for k in range(len(problems)):
        steps = np.arange(evaluations) * 10
        falling = 2.3 * np.exp(-0.02 * steps) + 0.1 * k
        noise = generator.uniform(0.9, 1.1, (len(methods), replicates, evaluations))
        arrays |= {
            f"steps_{k}": steps,
            f"test_loss_{k}": falling * noise,
            f"train_loss_{k}": (falling * noise)[:, :, 1:],
            f"grid_{k}": np.ones((len(methods), 3, 2)),
        }
        axes |= {
            f"steps_{k}": ["evaluation"],
            f"test_loss_{k}": ["method", "replicate", "evaluation"],
            f"train_loss_{k}": ["method", "replicate", "interval"],
            f"grid_{k}": ["method", "point", "value"],
        }
    labels = {
        "problem": list(problems),
        "method": list(methods),
        "criterion": ["training-loss"] * len(problems),
    }
    return Data(name, module.Options(), arrays, axes, labels)


def all_axes(fig):
    """Axes of a figure, with insets."""
    for ax in fig.axes:
        yield ax
        yield from ax.child_axes


def tick_labels(axis):
    """Labels that are shown: those beyond an axis' limits exist but are not."""
    low, high = sorted(axis.get_view_interval())
    return [
        tick.label1
        for tick in axis.get_major_ticks()
        if tick.label1.get_visible() and low <= tick.get_loc() <= high and tick.label1.get_text()
    ]


def visible_texts(fig):
    """All texts that are shown."""
    found = [*fig.texts]
    for legend in fig.legends:
        found += legend.get_texts()
    for ax in all_axes(fig):
        if ax.axison:
            found += [
                ax.xaxis.label,
                ax.yaxis.label,
                *tick_labels(ax.xaxis),
                *tick_labels(ax.yaxis),
            ]
        found += [ax.title, *ax.texts]
    return [text for text in found if text.get_visible() and text.get_text().strip()]

"""``qpsim theory``: the formulas, for a matrix and numbers of the user's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qpsim.cli.report_errors import print_json, print_table, say
from qpsim.cli.shared import Command, methods_beginning

if TYPE_CHECKING:
    import numpy as np

    from qpsim.problem.quadratic import QuadraticProblem

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="""Ask the theory of Balles & Hennig (2018), corrected, without simulating.

    \b
    Examples:
      qpsim theory improvement hessian.npy --noise-std 0.1 --theta 1,-2,0.5
      qpsim theory success 2,1 1,1.5
      qpsim theory factors 0.25,2.25
      qpsim theory kappa 0.9 1,10,inf
      qpsim theory risk hessian.csv sgd --step-size 0.1 --n-steps 100
      qpsim theory errata
    """,
)
# A first number may be negative, which must not be read as an option.
_NUMBERS = {"ignore_unknown_options": True}

Hessian = Annotated[
    Path,
    typer.Argument(
        metavar="HESSIAN", help=".npy, .npz, .csv or .parquet; (d, d), or (d,) if diagonal."
    ),
]
Noise = Annotated[float, typer.Option(help="Standard deviation nu of the data.")]
Theta = Annotated[
    str,
    typer.Option(
        metavar="FILE|a,b,c|random", help="Point; by default the optimum plus U[-10, 10]."
    ),
]
Optimum = Annotated[
    str | None, typer.Option(metavar="FILE|a,b,c", help="Minimiser.", show_default="zeros")
]
Name = Annotated[str | None, typer.Option("--array", help="Array of an .npz that holds several.")]
Rng = Annotated[int, typer.Option("--rng", help="Seed of a random point.", min=0)]
Json = Annotated[bool, typer.Option("--json", help="Print as JSON.")]


@app.command(cls=Command, short_help="Would sign descent help here?")
def improvement(
    hessian: Hessian,
    noise_std: Noise = 0.1,
    theta: Theta = "random",
    optimum: Optimum = None,
    array: Name = None,
    rng: Rng = 0,
    json_: Json = False,
) -> None:
    """Would sign descent help here? The expected improvement of every direction at one point.

    Each direction takes its best step (Eq. 11). Then the lower bound of Eq. 12, how tight it is,
    and the inequalities of Section 2.1 about the Hessian's mass.

    \b
    Examples:
      qpsim theory improvement hessian.npy --noise-std 0.1 --theta 1,-2,0.5
      qpsim theory improvement hessian.npz --array H --theta theta.npy --optimum optimum.npy
      qpsim theory improvement hessian.csv --noise-std 4 --theta random --rng 3 --json
    """
    from qpsim import theory as formulas

    problem = _problem(hessian, noise_std, optimum, array)
    point = _point(theta, problem, rng)
    table = formulas.compare_directions(problem, point)
    chain = formulas.mass_inequality(problem)
    if json_:
        about = {"dim": problem.dim, "diagonal": problem.is_diagonal, "theta": point.tolist()}
        print_json({**table.to_dict(), "mass_inequality": chain._asdict(), **about})
        return
    typer.echo(table)
    typer.echo(
        f"mass: tr Q {chain.trace:.5g} <= sum |q_ij| {chain.entries:.5g} <= "
        f"sum lambda |v|_1^2 {chain.eigenvectors:.5g} <= d tr Q {chain.worst:.5g}"
    )
    typer.echo(f"best: {table.best}")


@app.command(cls=Command, context_settings=_NUMBERS)
def success(
    gradient: Annotated[str, typer.Argument(metavar="GRADIENT", help="Numbers a,b,c or a file.")],
    std: Annotated[
        str,
        typer.Argument(metavar="STD", help="Standard deviations: one, or one for each gradient."),
    ],
    json_: Json = False,
) -> None:
    """How often a Gaussian gradient's sign is right.

    Equation 8 and Lemma 2, with the expected sign (2 rho - 1) sign(gradient).

    \b
    Examples:
      qpsim theory success 2,1 1,1.5
      qpsim theory success -0.5,0,2 1
      qpsim theory success gradient.npy std.npy --json
    """
    from qpsim import theory as formulas

    g, sigma = _numbers("GRADIENT", gradient), _numbers("STD", std)
    rho, mean = formulas.success_probability(g, sigma), formulas.expected_sign(g, sigma)
    _show({"gradient": g, "std": sigma, "success_probability": rho, "expected_sign": mean}, json_)


@app.command(cls=Command, context_settings=_NUMBERS)
def factors(
    eta2: Annotated[
        str, typer.Argument(metavar="ETA2", help="Relative variances a,b,c (inf too), or a file.")
    ],
    json_: Json = False,
) -> None:
    """Variance adaptation factors for relative variances.

    Those that are optimal for a gradient and for its sign (Lemma 1, Eq. 14 and 15), Adam's (Eq. 6),
    and how far the last two are apart (Figure 5).

    \b
    Examples:
      qpsim theory factors 0.25,2.25
      qpsim theory factors 0,1,inf --json
    """
    from qpsim import theory as formulas

    values = _numbers("ETA2", eta2)
    kinds = ("gradient", "sign", "adam")
    found = {kind: formulas.variance_adaptation_factor(values, kind) for kind in kinds}
    _show(
        {"eta2": values, **found, "adam_minus_sign": formulas.adaptation_gap(values)},
        json_,
    )


@app.command(cls=Command, context_settings=_NUMBERS)
def kappa(
    mu: Annotated[str, typer.Argument(metavar="MU", help="Momentum constants in [0, 1).")],
    t: Annotated[str, typer.Argument(metavar="T", help="Steps 1, 2, ...; inf for the limit.")],
    json_: Json = False,
) -> None:
    """The momentum correction kappa(mu, t).

    It is the variance of an average of gradients in units of one gradient's (Eq. 19); v - m^2
    misses a gradient's variance by the factor 1 - kappa (C.1).

    \b
    Examples:
      qpsim theory kappa 0.9 1,2,10,inf
      qpsim theory kappa 0.5,0.9,0.99 10,inf --json
    """
    import numpy as np

    from qpsim import theory as formulas

    # Every constant with every step, the steps running faster.
    momenta = np.repeat(_numbers("MU", mu).ravel(), _numbers("T", t).size)
    steps = np.resize(_numbers("T", t).ravel(), momenta.size)
    found = {
        "mu": momenta,
        "t": steps,
        "kappa": formulas.momentum_correction(momenta, steps),
        "variance_estimate_factor": formulas.variance_estimate_factor(momenta, steps),
    }
    _show(found, json_)


@app.command(cls=Command, short_help="Exact expected excess loss after every step.")
def risk(
    hessian: Hessian,
    method: Annotated[
        str,
        typer.Argument(
            metavar="METHOD",
            help="sgd, m-sgd; on a diagonal Hessian also ssd, m-ssd, adam, rmsprop and others.",
            autocompletion=methods_beginning,
        ),
    ],
    step_size: Annotated[float, typer.Option(help="Constant step size.")],
    n_steps: Annotated[int, typer.Option(help="Number of steps.", min=1)] = 100,
    momentum: Annotated[
        float | None, typer.Option(help="Momentum of m-sgd.", show_default="0.9")
    ] = None,
    noise_std: Noise = 0.1,
    theta0: Theta = "random",
    optimum: Optimum = None,
    array: Name = None,
    law: Annotated[
        str,
        typer.Option(
            help="exact; closure or high-dimensional: approximations for ssd, any Hessian."
        ),
    ] = "exact",
    rng: Rng = 0,
    json_: Json = False,
) -> None:
    """Expected excess loss after every step, without sampling.

    \b
    Examples:
      qpsim theory risk hessian.npy sgd --step-size 0.1 --n-steps 1000
      qpsim theory risk hessian.npy m-sgd --momentum 0.95 --step-size 0.01 --theta0 1,2,3
      qpsim theory risk eigenvalues.csv ssd --step-size 0.05 --json
      qpsim theory risk hessian.npy ssd --step-size 0.05 --law closure
    """
    from qpsim import theory as formulas
    from qpsim.methods import method as find_method

    problem = _problem(hessian, noise_std, optimum, array)
    point = _point(theta0, problem, rng, "--theta0")
    moving = find_method(method, **({} if momentum is None else {"momentum": momentum}))
    curve = formulas.expected_excess_loss(problem, moving, point, step_size, n_steps, law=law)
    limits: dict[str, Any] = {}
    if moving.name in ("sgd", "m-sgd"):
        limits = {
            "steady_state_excess_loss": formulas.steady_state_excess_loss(
                problem, moving, step_size
            ),
            "largest_stable_step_size": formulas.largest_stable_step_size(problem, moving),
        }
    if json_:
        about = {"method": moving.name, "step_size": step_size, "theta0": point.tolist()}
        print_json({**about, "expected_excess_loss": curve.tolist(), **limits})
        return
    rows = [[str(k), f"{curve[k]:.6g}"] for k in _milestones(n_steps)]
    print_table(["step", "expected excess loss"], rows)
    for name, value in limits.items():
        typer.echo(f"{name.replace('_', ' ')}: {value:.6g}")


@app.command(cls=Command)
def errata(
    markdown: Annotated[bool, typer.Option("--markdown", help="As a Markdown table.")] = False,
    json_: Json = False,
) -> None:
    """The paper's errors that this package corrects.

    \b
    Examples:
      qpsim theory errata
      qpsim theory errata --markdown
      qpsim theory errata --json | jq '.[].where'
    """
    from dataclasses import asdict

    from qpsim import theory as formulas

    if json_:
        print_json([asdict(erratum) for erratum in formulas.ERRATA])
    else:
        typer.echo(formulas.errata_markdown() if markdown else formulas.errata_text())


def _problem(
    hessian: Path, noise_std: float, optimum: str | None, array: str | None
) -> QuadraticProblem:
    from qpsim.files.arrays import read_array
    from qpsim.problem.quadratic import QuadraticProblem

    matrix = read_array("HESSIAN", hessian, array, "--array")
    minimiser = None if optimum is None else _numbers("--optimum", optimum)
    return QuadraticProblem(matrix, minimiser, noise_std)


def _point(theta: str, problem: QuadraticProblem, rng: int, option: str = "--theta") -> np.ndarray:
    if theta != "random":
        return _numbers(option, theta)
    import numpy as np

    say(f"theta is drawn U[-10, 10] off the optimum with seed {rng}; {option} gives your own.")
    generator = np.random.Generator(np.random.PCG64(rng))
    return problem.optimum + generator.uniform(-10.0, 10.0, problem.dim)


def _numbers(what: str, text: str) -> np.ndarray:
    """Numbers written a,b,c, or those in a file."""
    import numpy as np

    from qpsim.errors import SpecError
    from qpsim.files.arrays import ENDINGS, read_array

    if text.lower().endswith(ENDINGS):
        return read_array(what, Path(text), asked="a file of one array")
    try:
        return np.array([float(item) for item in text.split(",")])
    except ValueError:
        raise SpecError(
            f"{what} must be numbers with commas between them, such as 1,-0.5,2, or a .npy, .npz, "
            f".csv or .parquet file; not {text!r}."
        ) from None


def _show(found: dict[str, Any], as_json: bool) -> None:
    """Equally long columns, or single numbers repeated, as a table or as JSON."""
    import numpy as np

    columns = dict(zip(found, np.broadcast_arrays(*found.values()), strict=True))
    if as_json:
        print_json({name: values.tolist() for name, values in columns.items()})
        return
    rows = zip(*(values.ravel().tolist() for values in columns.values()), strict=True)
    print_table(
        [name.replace("_", " ") for name in columns],
        [[f"{value:.6g}" for value in row] for row in rows],
    )


def _milestones(steps: int) -> list[int]:
    """0, then 1, 2, 5 of every power of ten, and the last step.

    >>> _milestones(30)
    [0, 1, 2, 5, 10, 20, 30]
    """
    round_numbers = (k * 10**power for power in range(len(str(steps))) for k in (1, 2, 5))
    return sorted({0, steps, *(k for k in round_numbers if k < steps)})

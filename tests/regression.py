"""Numbers that a later version must give again: written by ``python -m tests.regression --write``.

The file holds the excess loss of a few small ensembles. A change that alters the numbers on purpose
(another noise stream, another default) writes it anew, and says so in its commit.
"""

import argparse
import json
from pathlib import Path

import numpy as np

import qpsim

PLACE = Path(__file__).parent / "data" / "trajectories.json"
POLICIES = {
    "sgd": ("optimal", "line-search"),
    "ssd": ("optimal", "bound", "line-search"),
    "svag": ("optimal",),
    "va-ssd": ("optimal", "bound"),
    "va-ssd-erf": ("optimal",),
    "m-sgd": ("optimal", 0.02),
    "m-ssd": ("optimal", 0.02),
    "adam": (0.05,),
}


def compute():
    """Excess losses (replicate, step) by the name of their setting."""
    out = {}
    for basis in ("axis", "haar", 0.5):
        for noise_std in (0.0, 0.1, 4.0):
            p = qpsim.random_problem("structured", 11, basis, noise_std, rng=2018)
            for method, policies in POLICIES.items():
                for policy in policies:
                    r = qpsim.simulate(
                        p, method, policy, n_steps=10, n_replicates=2, rng=1705, workers=1
                    )
                    key = f"structured, {basis}, noise {noise_std}, {method}, {policy}"
                    out[key] = r.excess_loss[:, 1::3].tolist()
    return out


def compare(tolerance=1e-7):
    """Names of the settings whose numbers differ from the file's by more than the tolerance."""
    stored, now = json.loads(PLACE.read_text()), compute()
    different = sorted(stored.keys() ^ now.keys())
    for key in stored.keys() & now.keys():
        scale = 1e-12 * np.max(stored[key])
        if not np.allclose(now[key], stored[key], rtol=tolerance, atol=scale):
            different.append(key)
    return different


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the file anew")
    if parser.parse_args().write:
        PLACE.parent.mkdir(exist_ok=True)
        lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in compute().items()]
        PLACE.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    else:
        print("\n".join(compare()) or "all as stored")

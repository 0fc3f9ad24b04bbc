"""M-SGD, M-SVAG, M-SSD and Adam on three networks: losses over steps, and accuracies (Figure 3).

The layout of Balles & Hennig (2018), Section 4. By default on three problems with scikit-learn's
digits that illustrate the regimes of the paper's MNIST, CIFAR-10 and CIFAR-100, without being
replications of them; on those themselves with ``data``. On the digits accuracies saturate, so the
step sizes are chosen by the mean training loss over the run, which the table shows as well.
"""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qpsim.figures import choices, network_panels, networks
from qpsim.figures.data import Data
from qpsim.figures.options import option

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

__all__ = ["METHODS", "PROBLEMS", "Options", "aspect", "compute", "draw"]

PROBLEMS = ("digits-mlp", "digits-cnn", "digits-whitened")
METHODS = ("m-sgd", "m-svag", "m-ssd", "adam")


@dataclass(frozen=True)
class Options(networks.Options):
    """Options of Figure 3."""

    tasks: tuple = option(PROBLEMS, "problems, see train --list", text=networks.task_text)
    methods: tuple = option(METHODS, "methods to compare", text=choices.method_text)


def compute(options: Options, workers: int | Executor | None = None) -> Data:
    """Tune and train; see :func:`qpsim.figures.networks.compute`."""
    return networks.compute("3", PROBLEMS, options.tasks, options.methods, options, workers)


def draw(data: Data, fig: Figure | SubFigure) -> dict[Any, Any]:
    """Draw into a figure or subfigure; see :func:`qpsim.figures.network_panels.draw`."""
    return network_panels.draw(data, fig)


aspect = network_panels.aspect

"""M-SVAG with its variance from moving averages or from the minibatch, on two networks (Figure 7).

Balles & Hennig (2018), Section D. M-SVAG-mb steps on the momentum sum, M-SVAG on the moving average:
their step sizes differ by the factor 1 / (1 - mu) = 10 where the methods do not. The paper shows
CIFAR-10 and CIFAR-100; by default two problems with scikit-learn's digits, as in Figure 3.
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

PROBLEMS = ("digits-cnn", "digits-whitened")
METHODS = ("m-svag", "m-svag-mb")


@dataclass(frozen=True)
class Options(networks.Options):
    """Options of Figure 7."""

    tasks: tuple = option(PROBLEMS, "problems, see train --list", text=networks.task_text)
    methods: tuple = option(METHODS, "methods to compare", text=choices.method_text)


def compute(options: Options, workers: int | Executor | None = None) -> Data:
    """Tune and train; see :func:`qpsim.figures.networks.compute`."""
    return networks.compute("7", PROBLEMS, options.tasks, options.methods, options, workers)


def draw(data: Data, fig: Figure | SubFigure) -> dict[Any, Any]:
    """Draw into a figure or subfigure; see :func:`qpsim.figures.network_panels.draw`."""
    return network_panels.draw(data, fig)


aspect = network_panels.aspect

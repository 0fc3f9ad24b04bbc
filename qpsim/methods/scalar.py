"""Functions that a rule may call on its numbers; they are those of :mod:`qpsim.rules.scalar`."""

from qpsim.rules.scalar import *  # noqa: F403
from qpsim.rules.scalar import __all__  # noqa: F401

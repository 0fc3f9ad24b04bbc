"""Optimizers of other programs compared with the rules of this package: on gradient streams, and by their loss.

:func:`check` returns a report, :func:`assert_conforms` fails a test, ``qpsim conform`` is the command.

- ``checking``: both functions. ``adapters/``: optimizers of PyTorch, optax and Keras under one interface; a further
  library is a file there.
- ``streams``: fixed sequences of gradients; ``play`` gives one to an optimizer; ``expectation`` computes what the rule
  does, and how far rounding may take an optimizer from it; ``dtypes`` has the types of numbers.
- ``laws``: the mean loss on small stochastic problems. ``counters``: errors of state and step counters.
- ``diagnosis``: which known variant explains a difference. ``variant``, ``variants``, ``variants_adam``,
  ``variants_other``, ``written``, ``decays``: the variants; a new one is a function in one of these files.
  ``fitted``, ``factors``: hyper-parameters and step sizes found by a fit.
- ``public``, ``snippets``: published optimizers and their known differences. ``report``: the results.
"""

from qpsim.conformance.checking import assert_conforms, check
from qpsim.conformance.report import LawOutcome, Report, StreamOutcome
from qpsim.conformance.streams import Stream, stream_names, streams

__all__ = [
    "LawOutcome",
    "Report",
    "Stream",
    "StreamOutcome",
    "assert_conforms",
    "check",
    "stream_names",
    "streams",
]

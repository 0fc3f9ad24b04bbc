"""Other people's optimizers held to the rules: gradient streams, laws, and a diagnosis.

A method is one scalar rule here, so it is a yardstick for any implementation of it.
:func:`check` reports, :func:`assert_conforms` fails a test, ``qpsim conform`` is the command.
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

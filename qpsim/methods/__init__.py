"""What moves: every method as one scalar rule, one family a file, and a registry of names."""

from qpsim.methods import averaged, minibatch, oracle, plain, relatives

# Their names come last in the registry.
from qpsim.methods import momentum, modern  # isort: skip
from qpsim.methods.method import Method, Rule
from qpsim.methods.registry import method, method_names
from qpsim.methods.rule import rule
from qpsim.methods.state import State

__all__ = [
    "Method",
    "Rule",
    "State",
    "averaged",
    "method",
    "method_names",
    "minibatch",
    "modern",
    "momentum",
    "oracle",
    "plain",
    "relatives",
    "rule",
]

"""What moves: every method as one scalar rule, one family a file, and a registry of names."""

from qpsim.methods import averaged, minibatch, oracle, plain, relatives
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
    "oracle",
    "plain",
    "relatives",
    "rule",
]

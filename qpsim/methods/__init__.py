"""What moves: every method as one scalar rule, one family a file, and a registry of names."""

from qpsim.methods import adaptive, oracle, plain
from qpsim.methods.rule import Method, Rule, State, method, method_names, rule, rule_of

__all__ = [
    "Method",
    "Rule",
    "State",
    "adaptive",
    "method",
    "method_names",
    "oracle",
    "plain",
    "rule",
    "rule_of",
]

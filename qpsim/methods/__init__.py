"""What moves: every method as one scalar rule, one family a file, and a registry of names."""

from qpsim.methods import averaged, minibatch, oracle, plain, relatives
from qpsim.methods.rule import Method, Rule, State, method, method_names, rule, rule_of

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
    "rule_of",
]

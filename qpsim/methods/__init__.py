"""The methods (SGD, Adam, M-SVAG, ...), each written once as a scalar function under the decorator ``rule``.

- One family a file: ``plain``, ``averaged``, ``oracle``, ``minibatch``, ``relatives``, ``momentum``, ``modern``. A new
  method is a function in one of them, or a new file that is imported below.
- ``rule``: the decorator. ``trial``: tests a user's rule before its first use.
- ``method``: ``Rule``, and ``Method``, a rule with its hyper-parameters. ``registry``: finds methods by name.
- ``mapping``: one step of a rule on arrays of any shape. ``state``: what a method remembers between steps.
- ``scalar``: functions that a rule may call, such as ``sign``.
"""

from qpsim.methods import averaged, minibatch, oracle, plain, relatives

# Imported last, so that their names come last in the registry.
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

"""What a method's update rule is: a scalar function, and the facts that its signature states.

- ``signature``: reads state, observed quantities and hyper-parameters off the arguments of the function.
- ``declaration``: the facts of one rule, found by the class of its hyper-parameters.
- ``scalar``: the functions, such as ``sign``, that a rule may call besides those of :mod:`math`.
- ``step_policies``: the codes of the policies that choose its step sizes.

The kernels need these facts, so that they stand below :mod:`qpsim.kernels`; the methods themselves are in
:mod:`qpsim.methods`.
"""

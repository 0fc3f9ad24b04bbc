"""Runs of a method on a problem, many replicates at once.

``plan`` checks all arguments of :func:`qpsim.simulate` -> ``run`` cuts the replicates into blocks and hands them to
workers -> ``block`` runs one block with the kernels -> ``result`` puts the blocks' records together.

- ``stepsize/``: the step-size policies, one a file. A new one is a file there and a line in its ``POLICIES``.
- ``checkpoint``: saves the state of a long run, so that it can go on after an interruption.
- ``memory``: how much memory a run takes. ``statistics``: quantiles over replicates in groups.
- ``step_check``: compares the exact steps of a user's rule with the draws.
- ``spec``, ``spec_keys``, ``spec_problem``: experiments in TOML files, for ``qpsim simulate``.
"""

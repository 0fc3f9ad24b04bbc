"""Makes optimizers, right or wrong, from a scalar rule, as a pair of functions on NumPy arrays."""

import numpy as np


def pair(function, n_states, hyper=(), step_size=0.01, start=0):
    """theta -= step_size * direction; ``start`` is the counter before the first step."""

    def init(params):
        return [np.zeros((n_states, *params.shape)), start]

    def update(gradient, state, params):
        arrays, t = state
        t = t + 1
        new, moved = arrays.copy(), np.array(params, copy=True)
        for at in np.ndindex(params.shape):
            given = [float(arrays[(k, *at)]) for k in range(n_states)]
            out = function(float(gradient[at]), *given, float(t), *hyper)
            out = out if n_states else (out,)
            moved[at] = params[at] - step_size * out[0]
            for k in range(n_states):
                new[(k, *at)] = out[k + 1]
        return moved, [new, t]

    return init, update


def of_method(method, **settings):
    """The method itself."""
    values = method.hyper_parameters.values()
    return pair(method.rule.function, len(method.state_names), values, **settings)

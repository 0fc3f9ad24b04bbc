"""Differences of public optimizers, each shown by a few lines that do not use this package.

Each is a program of its own that fails if the difference is gone; the tests with optional peers run
them all. They belong to the versions that the stored figure names.
"""

from __future__ import annotations

SNIPPETS: dict[tuple[str, str], str] = {}


def snippet(package: str, name: str) -> str | None:
    """The lines that show how a public optimizer differs; None if there are none.

    >>> print(snippet("torch", "NAdam").splitlines()[0])
    import torch
    """
    return SNIPPETS.get((package, name))


SNIPPETS["torch", "Adam, fused"] = """\
import torch
steps = {}
for fused in (False, True):
    param = torch.zeros(8, dtype=torch.float64)[::2].requires_grad_()
    optimizer = torch.optim.Adam([param], lr=1.0, fused=fused)
    (param * torch.tensor([1.0, -1.0, 2.0, -2.0], dtype=torch.float64)).sum().backward()
    optimizer.step()
    steps[fused] = param.detach().clone()
print(steps)  # of a tensor that is not dense, other elements move
assert (steps[True] - steps[False]).abs().max() > 0.5
"""
SNIPPETS["torch", "NAdam"] = """\
import torch
param = torch.zeros(1, dtype=torch.float64, requires_grad=True)
optimizer = torch.optim.NAdam([param], lr=1.0, eps=0.0)
param.grad = torch.ones_like(param)
optimizer.step()
mu, following = (0.9 * (1 - 0.5 * 0.96 ** (0.004 * t)) for t in (1, 2))
exact = 0.1 * following / (1 - mu * following) + (1 - mu) / (1 - mu)
print(-param.item(), exact)  # the product of the momenta is kept in single precision
assert 1e-10 < abs(-param.item() / exact - 1) < 1e-6
"""
SNIPPETS["torch", "RAdam"] = """\
import torch
moves = []
for eps in (0.0, 1.0):
    param = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.RAdam([param], lr=1.0, eps=eps)
    for _ in range(6):
        param.grad, before = torch.ones_like(param), param.item()
        optimizer.step()
    moves.append(param.item() - before)
print(moves[1] / moves[0])  # 1 / (1 + eps) is 0.5: eps is added before the correction of v
assert moves[1] / moves[0] < 0.1
"""
SNIPPETS["torch", "Rprop"] = """\
import torch
param = torch.zeros(1, dtype=torch.float32, requires_grad=True)
optimizer = torch.optim.Rprop([param], lr=1.0, etas=(0.5, 1.2))
for _ in range(2):
    param.grad = torch.full_like(param, 1e-25)
    optimizer.step()
print(param.item())  # -1 - 1.2 is right: the product of the two gradients underflows
assert param.item() == -2.0
"""
SNIPPETS["optax", "rprop"] = """\
import jax.numpy as jnp, optax
rprop = optax.rprop(learning_rate=1.0)
param = jnp.zeros(1)
state = rprop.init(param)
moves = []
for _ in range(3):
    update, state = rprop.update(jnp.ones(1), state, param)
    moves.append(float(update[0]))
print(moves)  # -1, -1.2, -1.44 is right: each step is taken one step late
assert moves[0] == 0.0 and moves[1] == -1.0
"""
SNIPPETS["optax", "yogi"] = """\
import jax.numpy as jnp, optax
yogi = optax.yogi(learning_rate=1.0)
param = jnp.zeros(1)
state = yogi.init(param)
update, state = yogi.update(jnp.zeros(1), state, param)
print(update)  # a gradient of 0 moves it: the momentum starts at 1e-6, as v does
assert update[0] != 0.0
"""
SNIPPETS["optax", "amsgrad"] = """\
import jax.numpy as jnp, optax
amsgrad = optax.amsgrad(learning_rate=1.0, b1=0.0, b2=0.9, eps=0.0)
param = jnp.zeros(1)
state = amsgrad.init(param)
for gradient in (1.0, 0.5):
    update, state = amsgrad.update(jnp.array([gradient]), state, param)
v = 0.9 * 0.1 + 0.1 * 0.25  # larger than 0.1, so that the largest v is this one
print(update, -0.5 / (v / 0.19) ** 0.5)  # the largest of v / (1 - b2^t) is taken instead
assert abs(update[0] + 0.5) < 1e-6
"""
SNIPPETS["optax", "rmsprop"] = """\
import jax.numpy as jnp, optax
rmsprop = optax.rmsprop(learning_rate=1.0, decay=0.0, eps=1.0)
param = jnp.zeros(1)
update, state = rmsprop.update(jnp.array([1.0]), rmsprop.init(param), param)
print(update)  # 1 / (sqrt(v) + eps) is 0.5; this is 1 / sqrt(v + eps)
assert abs(update[0] + 0.5 ** 0.5) < 1e-6
"""
SNIPPETS["optax", "adagrad"] = """\
import jax.numpy as jnp, optax
adagrad = optax.adagrad(learning_rate=1.0, eps=0.0)
param = jnp.zeros(1)
update, state = adagrad.update(jnp.array([1.0]), adagrad.init(param), param)
print(update)  # the first step of AdaGrad is 1; the sum starts at 0.1 here
assert abs(update[0] + 1.1 ** -0.5) < 1e-6
"""
_KERAS = """\
import os
os.environ.setdefault("KERAS_BACKEND", "torch")
import keras
param = keras.Variable([0.0])
"""
SNIPPETS["keras", "Adam"] = (
    _KERAS
    + """\
optimizer = keras.optimizers.Adam(learning_rate=1.0, beta_1=0.0, beta_2=0.75, epsilon=1.0)
optimizer.apply([keras.ops.ones(1)], [param])
print(param)  # 1 / (1 + eps) is 0.5; here eps is added before the bias correction of v
assert abs(float(param[0]) + 0.5 / (0.5 + 1.0)) < 1e-6
"""
)
SNIPPETS["keras", "AdamW"] = SNIPPETS["keras", "Adam"].replace("Adam(", "AdamW(")
SNIPPETS["keras", "Adamax"] = (
    _KERAS
    + """\
optimizer = keras.optimizers.Adamax(learning_rate=1.0, beta_2=0.5, epsilon=1.0)
for gradient in (1.0, 0.0):
    before = float(param[0])
    optimizer.apply([keras.ops.ones(1) * gradient], [param])
print(float(param[0]) - before)  # u is max(0.5, 0) + eps = 1.5; max(b2 u, |g| + eps) is 1
assert abs(float(param[0]) - before + 0.09 / 0.19 / 1.5) < 1e-6
"""
)
SNIPPETS["keras", "RMSprop"] = (
    _KERAS
    + """\
optimizer = keras.optimizers.RMSprop(learning_rate=1.0, rho=0.0, epsilon=1.0)
optimizer.apply([keras.ops.ones(1)], [param])
print(param)  # 1 / (sqrt(v) + eps) is 0.5; this is 1 / sqrt(v + eps)
assert abs(float(param[0]) + 0.5**0.5) < 1e-6
"""
)
SNIPPETS["keras", "Adagrad"] = (
    _KERAS
    + """\
optimizer = keras.optimizers.Adagrad(learning_rate=1.0, epsilon=0.0)
optimizer.apply([keras.ops.ones(1)], [param])
print(param)  # the first step of AdaGrad is 1; the sum starts at 0.1 here
assert abs(float(param[0]) + 1.1**-0.5) < 1e-6
"""
)
SNIPPETS["pytorch_optimizer", "Yogi"] = """\
import torch
from pytorch_optimizer import Yogi
param = torch.zeros(1, dtype=torch.float64, requires_grad=True)
optimizer = Yogi([param], lr=1.0)
param.grad = torch.zeros_like(param)
optimizer.step()
print(param)  # a gradient of 0 moves it: the momentum starts at 1e-6, as v does
assert param.item() != 0.0
"""
SNIPPETS["pytorch_optimizer", "RAdam"] = """\
import torch
from pytorch_optimizer import RAdam
param = torch.zeros(1, dtype=torch.float64, requires_grad=True)
optimizer = RAdam([param], lr=1.0)
for _ in range(5):
    param.grad = torch.ones_like(param)
    optimizer.step()
print(param)  # the paper moves by the corrected momentum: -5; this one waits
assert param.item() == 0.0
"""
_COUNTED = """\
import torch
from pytorch_optimizer import {name}
a, b = (torch.zeros(1, dtype=torch.float64, requires_grad=True) for _ in range(2))
optimizer = {name}([a, b], lr=1.0)
for t in range(5):
    a.grad, b.grad = torch.ones_like(a), torch.ones_like(b) if t == 4 else None
    optimizer.step()
print(b)  # its first gradient is corrected as a fifth one: the counter is of the group
assert abs(b.item()) < 0.9
"""
for _name in ("AdaBelief", "AdaMax", "MSVAG"):
    SNIPPETS["pytorch_optimizer", _name] = _COUNTED.format(name=_name)
SNIPPETS["timm", "RMSpropTF"] = """\
import torch
from timm.optim import RMSpropTF
param = torch.zeros(1, dtype=torch.float64, requires_grad=True)
optimizer = RMSpropTF([param], lr=1.0, alpha=0.75, eps=0.0)
param.grad = torch.full_like(param, 2.0)
optimizer.step()
print(param)  # v is 0.25 * 4 = 1, so that the first step is -2; here v starts at 1
assert abs(param.item() + 2 / (0.75 + 0.25 * 4) ** 0.5) < 1e-9
"""
SNIPPETS["timm", "RAdamLegacy"] = """\
import torch
from timm.optim import RAdamLegacy
param = torch.zeros(1, dtype=torch.float64, requires_grad=True)
optimizer = RAdamLegacy([param], lr=0.1)
param.grad = torch.ones_like(param)
optimizer.step()
print(param)  # 0.1 in double precision: the step is made in single precision
assert param.item() == float(param.float()) != -0.1
"""
SNIPPETS["timm", "NAdamW"] = """\
import torch
from timm.optim import NAdamW
param = torch.zeros(1, dtype=torch.float64, requires_grad=True)
optimizer = NAdamW([param], lr=1.0, eps=0.0, weight_decay=0.0)
param.grad = torch.ones_like(param)
optimizer.step()
exact = 0.9 * 0.1 / (1 - 0.9**2) + 0.1 / (1 - 0.9)  # the next step's momentum is corrected as such
print(param, -exact)  # here it is corrected as this step's: (0.9 * 0.1 + 0.1) / (1 - 0.9)
assert abs(param.item() + 1.9) < 1e-9
"""

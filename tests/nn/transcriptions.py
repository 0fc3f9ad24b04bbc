"""The optimizers as the paper prints them, and a small network, in plain NumPy."""

import numpy as np


def kappa(mu, t):
    """Eq. 19."""
    return (1 - mu ** (2 * t)) * (1 - mu) ** 2 / ((1 - mu**2) * (1 - mu**t) ** 2)


def over(a, b):
    """a / b, and 0 where b is 0."""
    return np.divide(a, b, out=np.zeros_like(a), where=b != 0)


def direction(name, g, shat, kept, t, mu=0.9):
    """The update direction at step t; ``kept`` is a dict that lives through the run."""
    if name == "m-sgd":
        kept["r"] = mu * kept.get("r", 0) + g
        return kept["r"]
    if name == "m-ssd":
        kept["r"] = mu * kept.get("r", 0) + g
        return np.sign(kept["r"])
    if name.endswith("-mb"):
        kept["r"] = mu * kept.get("r", 0) + g
        kept["s"] = mu**2 * kept.get("s", 0) + shat
        r, s = kept["r"], kept["s"]
        gamma = over(r**2, r**2 + s)
        return gamma * r if name == "m-svag-mb" else np.sqrt(gamma) * np.sign(r)
    b1, b2 = (0.9, 0.999) if name == "adam" else (mu, mu)
    kept["m"] = b1 * kept.get("m", 0) + (1 - b1) * g
    kept["v"] = b2 * kept.get("v", 0) + (1 - b2) * g**2
    m, v = kept["m"] / (1 - b1**t), kept["v"] / (1 - b2**t)
    if name == "adam":
        return m / (np.sqrt(v) + 1e-8)
    gamma = over(m**2, m**2 + kappa(mu, t) * np.maximum(v - m**2, 0))
    return gamma * m if name == "m-svag" else np.sqrt(gamma) * np.sign(m)


def per_example_gradients(theta, shapes, x, y):
    """Losses (B,) and gradients (B, P) of one hidden ReLU layer with softmax cross-entropy."""
    w1, b1, w2, b2 = split(theta, shapes)
    hidden = np.maximum(x @ w1 + b1, 0)
    logits = hidden @ w2 + b2
    logits -= logits.max(axis=1, keepdims=True)
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    losses = -np.log(p[np.arange(len(y)), y])
    p[np.arange(len(y)), y] -= 1
    back = (p @ w2.T) * (hidden > 0)
    parts = (x[:, :, None] * back[:, None], back, hidden[:, :, None] * p[:, None], p)
    return losses, np.concatenate([part.reshape(len(x), -1) for part in parts], axis=1)


def split(theta, shapes):
    """Views of the parts of a flat vector."""
    ends = np.cumsum([np.prod(shape) for shape in shapes])
    pieces = np.split(theta, ends[:-1])
    return [piece.reshape(shape) for piece, shape in zip(pieces, shapes, strict=True)]


def trajectory(name, theta, shapes, batches, step_size, n_steps, l2):
    """Parameters and batch losses after n_steps; L2 on the weights and not on the biases."""
    theta, kept, losses = theta.astype(float).copy(), {}, []
    decays = np.concatenate([np.full(np.prod(s), float(len(s) == 2)) for s in shapes])
    for t in range(1, n_steps + 1):
        x, y = next(batches)
        each, g = per_example_gradients(theta, shapes, x.astype(float), y)
        shat = (np.mean(g**2, axis=0) - g.mean(axis=0) ** 2) / (len(y) - 1)
        losses.append(each.mean())
        full = g.mean(axis=0) + l2 * decays * theta
        theta -= step_size * direction(name, full, shat, kept, t)
    return theta, np.array(losses)

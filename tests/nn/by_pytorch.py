"""The networks by torch.nn.functional, from the same parameters, nothing dropped."""

from qpsim import nn


def objective(torch, network, x, y):
    """The objective as a scalar that torch can differentiate, and the parameters by name."""
    functional = torch.nn.functional
    values = {
        name: torch.tensor(view.copy(), requires_grad=True) for name, view in network.views.items()
    }
    h = torch.tensor(x)
    if h.ndim == 4:
        h = h.permute(0, 3, 1, 2)
    numbers = {"conv": 0, "dense": 0}
    for layer in network.layers:
        if isinstance(layer, nn.Conv2D):
            numbers["conv"] += 1
            weight = values[f"conv{numbers['conv']}.weight"].permute(3, 2, 0, 1)
            top, bottom, left, right = layer.margin((h.shape[2], h.shape[3]))
            h = functional.pad(h, (left, right, top, bottom))
            h = functional.conv2d(h, weight, values[f"conv{numbers['conv']}.bias"], layer.stride)
        elif isinstance(layer, nn.Dense):
            numbers["dense"] += 1
            key = f"dense{numbers['dense']}"
            h = h @ values[f"{key}.weight"] + values[f"{key}.bias"]
        elif isinstance(layer, nn.ReLU):
            h = functional.relu(h)
        elif isinstance(layer, nn.MaxPool):
            h = functional.max_pool2d(h, layer.window, layer.stride, ceil_mode=True)
        elif isinstance(layer, nn.Flatten):
            h = h.permute(0, 2, 3, 1).flatten(1)
        elif isinstance(layer, nn.GlobalAveragePool):
            h = h.mean((2, 3))
    penalty = sum((v**2).sum() for name, v in values.items() if name.endswith("weight"))
    loss = functional.cross_entropy(h, torch.tensor(y)) + network.weight_decay / 2 * penalty
    return loss, values

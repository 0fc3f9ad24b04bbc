"""Makes the parts of a network from a list of layers: fields, one vector of parameters, connected layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from qpsim.errors import NetworkError
from qpsim.nn.layers import Conv2D, Dropout, Field, Layer, Parameter
from qpsim.nn.layers.fusion import fused
from qpsim.nn.memory import aligned_zeros

__all__ = ["Assembly", "Stage", "assemble"]


@dataclass(frozen=True)
class Stage:
    """A layer in its place in a network.

    Attributes
    ----------
    layer : Layer
    source, target : int
        Numbers of the fields before and after it.
    input_shape, output_shape : tuple of int
        Of one example. The shape of the field differs if an image has become a vector without a copy.
    slices : tuple of slice
        The positions of its parameters in the network's flat vector.
    shapes : tuple of tuple of int
        The parameters' shapes.
    """

    layer: Layer
    source: int
    target: int
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    slices: tuple[slice, ...]
    shapes: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, eq=False)
class Assembly:
    """A network's parts.

    Attributes
    ----------
    stages : list of Stage
    fields : list of Field
        Between the stages, the input first and the outputs last.
    parameters : array (P,)
    views : mapping of str to array
        The named arrays inside the vector.
    decaying : list of slice
        The parameters that the L2 term includes.
    """

    stages: list[Stage]
    fields: list[Field]
    parameters: np.ndarray
    views: Mapping[str, np.ndarray]
    decaying: list[slice]


def assemble(
    layers: Sequence[Layer],
    input_shape: tuple[int, ...],
    dtype: Any,
    rng: np.random.Generator,
    fast: bool,
    fewest_outputs: int,
) -> Assembly:
    """Connect copies of the layers, and draw the initial parameters.

    Raises
    ------
    NetworkError
        The layers do not fit together, have no parameters, or give too few outputs.
    """
    for layer in layers:
        if not isinstance(layer, Layer):
            raise NetworkError(f"a network is made of layers such as Dense(10), not {layer!r}")
    bound, shapes = fused(layers), [input_shape]
    for layer in bound:
        shapes.append(layer.output_shape(shapes[-1]))
    specified = [layer.parameters(shape) for layer, shape in zip(bound, shapes, strict=False)]
    if not any(specified):
        raise NetworkError("a network needs at least one layer with parameters")
    if len(shapes[-1]) != 1 or shapes[-1][0] < fewest_outputs:
        wanted = "one number" if fewest_outputs == 1 else "two class scores"
        raise NetworkError(
            f"the last layer must give at least {wanted} per example, not shape {shapes[-1]}"
        )
    places = [0]
    for layer in bound:
        places.append(places[-1] if layer.in_place else places[-1] + 1)
    fields = [_field(place, places, bound, shapes) for place in range(places[-1] + 1)]
    parameters = aligned_zeros(sum(p.size for own in specified for p in own), dtype)
    names = _names(bound, specified)
    views: dict[str, np.ndarray] = {}
    stages: list[Stage] = []
    decaying: list[slice] = []
    start = 0
    for n, (layer, own) in enumerate(zip(bound, specified, strict=True)):
        slices = []
        for parameter, name in zip(own, names[n], strict=True):
            part = slice(start, start + parameter.size)
            views[name] = parameters[part].reshape(parameter.shape)
            views[name][:] = parameter.initial(rng, parameter.shape)
            slices.append(part)
            if parameter.decays:
                decaying.append(part)
            start = part.stop
        if isinstance(layer, Conv2D):
            layer.fast = fast
        source, target = places[n], places[n + 1]
        layer.connect(fields[source], fields[target], [views[name] for name in names[n]])
        stages.append(
            Stage(
                layer,
                source,
                target,
                shapes[n],
                shapes[n + 1],
                tuple(slices),
                tuple(parameter.shape for parameter in own),
            )
        )
    for position, layer in enumerate(layer for layer in bound if isinstance(layer, Dropout)):
        layer.position = position
    return Assembly(stages, fields, parameters, MappingProxyType(views), decaying)


def _names(layers: Sequence[Layer], specified: Sequence[Sequence[Parameter]]) -> list[list[str]]:
    """``dense1.weight`` and the like: kind, number among the layers of that kind, parameter."""
    counts: dict[str, int] = {}
    names = []
    for layer, own in zip(layers, specified, strict=True):
        counts[layer.kind] = counts.get(layer.kind, 0) + 1
        names.append([f"{layer.kind}{counts[layer.kind]}.{parameter.name}" for parameter in own])
    return names


def _field(
    place: int, places: list[int], layers: Sequence[Layer], shapes: list[tuple[int, ...]]
) -> Field:
    """The field with this number, with the margin that the layer after it needs."""
    readers = [n for n in range(len(layers)) if places[n] == place]
    margin = layers[readers[-1]].margin(shapes[readers[-1]]) if readers else (0, 0, 0, 0)
    # Layers that work in place may change the shape (Flatten); the field has the first shape.
    return Field(shapes[places.index(place)], margin)

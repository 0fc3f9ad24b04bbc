"""Curvature, noise and directions of a real model, measured from gradients and Hessian-vector products.

Section 2 of Balles & Hennig (2018) says under which conditions the sign of a gradient is the better direction. These
functions measure the conditions, and the improvement itself, at one point of any model in any framework.

- ``gradient_noise``, ``hessian``, ``improvement``: the three measurements ``noise``, ``curvature``, ``directions``.
- ``point``: a model at given parameters, with all three as methods; ``torch_model`` and ``jax_model`` make one.
- ``inputs``: checks of gradients and Hessian-vector products. ``lanczos``: the spectrum from such products.
- ``parabolas`` and ``realised``: the loss along directions, for ``improvement``.
- ``record`` and ``saved``: the base class of results, and reading them from files.

A new measurement is a file with a class derived from ``record.Measurement``, and its name below.
"""

from typing import Any as _Any

from qpsim.lazy import public_name as _public_name

_PUBLIC = {
    "noise": "qpsim.measure.gradient_noise",
    "NoiseMeasurement": "qpsim.measure.gradient_noise",
    "curvature": "qpsim.measure.hessian",
    "CurvatureMeasurement": "qpsim.measure.hessian",
    "spectral_density": "qpsim.measure.lanczos",
    "directions": "qpsim.measure.improvement",
    "DirectionsMeasurement": "qpsim.measure.improvement",
    "Estimate": "qpsim.measure.record",
    "Point": "qpsim.measure.point",
    "from_torch": "qpsim.measure.torch_model",
    "from_jax": "qpsim.measure.jax_model",
    "load": "qpsim.measure.saved",
}

__all__ = list(_PUBLIC)


def __getattr__(name: str) -> _Any:
    return _public_name(__name__, _PUBLIC, name)


def __dir__() -> list[str]:
    return sorted(__all__)

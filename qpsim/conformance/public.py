"""A list of public optimizers, by package, each with the method that it should follow.

Packages are imported only when asked for. Each optimizer is set as its users are told to, with the
hyper-parameters of the method where it has arguments for them; what remains different is a
difference of the implementation. Of ``timm`` the optimizers of its own are here: under the names "adam",
"sgd" and the like it hands out those of torch.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

from qpsim.errors import first_line

RATE = 2.0**-7


class Public(NamedTuple):
    """One optimizer: its package, how it is called there, and the method that it should be."""

    package: str
    name: str
    method: str
    hyper: dict[str, Any]
    make: Callable[[Any], Any]

    def optimizer(self) -> Any:
        """What :func:`qpsim.conformance.check` takes; the package is imported."""
        return self.make(imported(self.package))


_MODULES = {
    "torch": "torch.optim",
    "optax": "optax",
    "keras": "keras.optimizers",
    "pytorch_optimizer": "pytorch_optimizer",
    "timm": "timm.optim",
}
PACKAGES = tuple(_MODULES)


def imported(package: str) -> Any:
    """The module of a package that has its optimizers."""
    if package == "keras":
        os.environ.setdefault("KERAS_BACKEND", "torch")
    return import_module(_MODULES[package])


def installed(package: str) -> str | None:
    """Version of a package that can be imported; None if it cannot.

    >>> installed("numpy") is None
    True
    """
    return None if why_missing(package) else version(package)


def why_missing(package: str) -> str | None:
    """Why a package's optimizers cannot be had, in a few words; None if they can.

    >>> why_missing("numpy")
    'no package of public optimizers'
    """
    if package not in _MODULES:
        return "no package of public optimizers"
    try:
        version(package)
    except PackageNotFoundError:
        return "not installed"
    try:
        imported(package)
    except (ImportError, RuntimeError, AttributeError, OSError) as error:
        return f"cannot be imported: {first_line(error)}"
    return None


def _class(name: str, **settings: Any) -> Callable[[Any], Any]:
    """A class of optimizers as it is, or a factory that sets what is not a hyper-parameter."""
    if not settings:
        return lambda module: getattr(module, name)
    return lambda module: lambda params: getattr(module, name)(params, lr=RATE, **settings)


def _made(name: str, **settings: Any) -> Callable[[Any], Any]:
    """An object of optax or Keras: a function or class called with the step size."""
    return lambda module: getattr(module, name)(learning_rate=RATE, **settings)


def _raw(name: str, **settings: Any) -> Callable[[Any], Any]:
    """A pytorch_optimizer class with only its own settings."""
    return _class(name, weight_decay=0.0, **settings)


PUBLIC: tuple[Public, ...] = (
    Public("torch", "SGD", "sgd", {}, _class("SGD")),
    Public("torch", "SGD, momentum", "m-sgd", {}, _class("SGD")),
    Public("torch", "SGD, nesterov", "nesterov", {}, _class("SGD", momentum=0.9, nesterov=True)),
    Public("torch", "SGD, dampening", "damped-m-sgd", {}, _class("SGD")),
    Public("torch", "Adam", "adam", {}, _class("Adam")),
    Public("torch", "Adam, foreach", "adam", {}, _class("Adam", foreach=True)),
    Public("torch", "Adam, fused", "adam", {}, _class("Adam", fused=True)),
    Public("torch", "Adam, amsgrad", "amsgrad", {}, _class("Adam", amsgrad=True)),
    Public("torch", "AdamW", "adamw", {"weight_decay": 0.01}, _class("AdamW")),
    Public("torch", "NAdam", "nadam", {}, _class("NAdam")),
    Public("torch", "RAdam", "radam", {}, _class("RAdam")),
    Public("torch", "Adamax", "adamax", {}, _class("Adamax")),
    Public("torch", "RMSprop", "rmsprop", {}, _class("RMSprop")),
    Public("torch", "Adagrad", "adagrad", {}, _class("Adagrad")),
    Public("torch", "Adadelta", "adadelta", {}, _class("Adadelta")),
    Public("torch", "Rprop", "rprop", {}, _class("Rprop")),
    Public("optax", "sgd", "sgd", {}, _made("sgd")),
    Public("optax", "sgd, momentum", "m-sgd", {}, _made("sgd", momentum=0.9)),
    Public("optax", "sgd, nesterov", "nesterov", {}, _made("sgd", momentum=0.9, nesterov=True)),
    Public("optax", "sign_sgd", "ssd", {}, _made("sign_sgd")),
    Public("optax", "signum", "signum", {}, _made("signum")),
    Public("optax", "adam", "adam", {}, _made("adam")),
    Public("optax", "adamw", "adamw", {"weight_decay": 0.01}, _made("adamw", weight_decay=0.01)),
    Public("optax", "nadam", "nadam", {"momentum_decay": 1e9}, _made("nadam")),
    Public("optax", "radam", "radam", {}, _made("radam")),
    Public("optax", "adamax", "adamax", {}, _made("adamax")),
    Public("optax", "amsgrad", "amsgrad", {}, _made("amsgrad")),
    Public("optax", "adabelief", "adabelief", {}, _made("adabelief")),
    Public("optax", "yogi", "yogi", {}, _made("yogi")),
    Public("optax", "lion", "lion", {}, _made("lion", weight_decay=0.0)),
    Public("optax", "rmsprop", "rmsprop", {}, _made("rmsprop")),
    Public("optax", "adagrad", "adagrad", {"eps": 1e-7}, _made("adagrad")),
    Public(
        "optax", "adadelta", "adadelta", {"decay": 0.9}, lambda o: o.adadelta(learning_rate=1.0)
    ),
    Public("optax", "rprop", "rprop", {}, lambda o: o.rprop(learning_rate=1.0)),
    Public("keras", "SGD", "sgd", {}, _made("SGD")),
    Public("keras", "SGD, momentum", "m-sgd", {}, _made("SGD", momentum=0.9)),
    Public("keras", "SGD, nesterov", "nesterov", {}, _made("SGD", momentum=0.9, nesterov=True)),
    Public("keras", "Adam", "adam", {"eps": 1e-7}, _made("Adam")),
    Public("keras", "Adam, amsgrad", "amsgrad", {"eps": 1e-7}, _made("Adam", amsgrad=True)),
    Public(
        "keras",
        "AdamW",
        "adamw",
        {"eps": 1e-7, "weight_decay": 0.01},
        _made("AdamW", weight_decay=0.01),
    ),
    Public("keras", "Nadam", "nadam", {"eps": 1e-7, "momentum_decay": 1.0}, _made("Nadam")),
    Public("keras", "Adamax", "adamax", {"eps": 1e-7}, _made("Adamax")),
    Public("keras", "Lion", "lion", {}, _made("Lion")),
    Public("keras", "RMSprop", "rmsprop", {"eps": 1e-7}, _made("RMSprop")),
    Public("keras", "Adagrad", "adagrad", {"eps": 1e-7}, _made("Adagrad")),
    Public("keras", "Adadelta", "adadelta", {"eps": 1e-7}, lambda k: k.Adadelta(learning_rate=1.0)),
    Public("pytorch_optimizer", "Lion", "lion", {}, _raw("Lion")),
    Public(
        "pytorch_optimizer", "MSVAG", "m-svag", {"bias_corrected": True}, _class("MSVAG", beta=0.9)
    ),
    Public("pytorch_optimizer", "SignSGD", "signum", {}, _raw("SignSGD")),
    Public("pytorch_optimizer", "AdaBelief", "adabelief", {}, _raw("AdaBelief", rectify=False)),
    Public("pytorch_optimizer", "Yogi", "yogi", {}, _raw("Yogi")),
    Public("pytorch_optimizer", "AdaMax", "adamax", {}, _raw("AdaMax")),
    Public("pytorch_optimizer", "RAdam", "radam", {}, _raw("RAdam")),
    Public("pytorch_optimizer", "NAdam", "nadam", {}, _raw("NAdam")),
    Public("pytorch_optimizer", "AdaDelta", "adadelta", {}, _class("AdaDelta")),
    Public("pytorch_optimizer", "RMSprop", "rmsprop", {}, _class("RMSprop")),
    Public("pytorch_optimizer", "AdamW", "adamw", {"weight_decay": 0.01}, _class("AdamW")),
    Public("timm", "Lion", "lion", {}, _class("Lion")),
    Public("timm", "AdaBelief", "adabelief", {}, _class("AdaBelief", rectify=False)),
    Public("timm", "AdamWLegacy", "adamw", {"weight_decay": 0.01}, _class("AdamWLegacy")),
    Public("timm", "NAdamW", "nadam", {"momentum_decay": 1e9}, _class("NAdamW", weight_decay=0.0)),
    Public("timm", "NAdamLegacy", "nadam", {}, _class("NAdamLegacy")),
    Public("timm", "RAdamLegacy", "radam", {}, _class("RAdamLegacy")),
    Public("timm", "RMSpropTF", "rmsprop", {}, _class("RMSpropTF")),
    Public("timm", "SGDW", "m-sgd", {}, _class("SGDW", momentum=0.9)),
    Public("timm", "SGDW, nesterov", "nesterov", {}, _class("SGDW", momentum=0.9, nesterov=True)),
)

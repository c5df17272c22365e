"""Neural networks: modules, layers, losses, initial values."""

from gradcore.nn import functional, init, utils
from gradcore.nn.layers import (
    GELU,
    CrossEntropyLoss,
    Dropout,
    Flatten,
    Identity,
    LayerNorm,
    Linear,
    MSELoss,
    ReLU,
    Sequential,
    Sigmoid,
    Softplus,
    Tanh,
)
from gradcore.nn.module import Module, ModuleList, functional_call
from gradcore.nn.parameter import Buffer, Parameter

__all__ = [
    "GELU",
    "Buffer",
    "CrossEntropyLoss",
    "Dropout",
    "Flatten",
    "Identity",
    "LayerNorm",
    "Linear",
    "MSELoss",
    "Module",
    "ModuleList",
    "Parameter",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "Softplus",
    "Tanh",
    "functional",
    "functional_call",
    "init",
    "utils",
]

"""gradcore: automatic differentiation and network training on NumPy and CuPy arrays."""

from gradcore.autodiff import grad, jvp, make_graph, no_grad, value_and_grad, vjp, vmap
from gradcore.backend import Device
from gradcore.core.cell import Cell
from gradcore.core.tensor import Tensor
from gradcore.core.trees import tree_map
from gradcore.ops import *
from gradcore.tensor import arange, asarray, full, ones, tensor, zeros

from gradcore import nn, optim, random  # isort: skip
from gradcore.version import __version__

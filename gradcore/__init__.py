"""gradcore: automatic differentiation and network training on NumPy and CuPy arrays."""

import importlib as _importlib
import typing as _typing

try:
    import gradcore.kernels as _kernels
except ModuleNotFoundError as error:
    raise ImportError(
        "Python found gradcore's source folder, to which `kernels/` does not belong, before the installed package; run "
        "Python from another folder, or install with `pip install -e .`"
    ) from error

from gradcore.autodiff import (
    grad,
    hessian,
    hvp,
    jacfwd,
    jacobian,
    jacrev,
    jvp,
    linearize,
    make_graph,
    no_grad,
    value_and_grad,
    vjp,
    vmap,
)
from gradcore.backend import Device
from gradcore.backend.device import explainers as _explainers
from gradcore.core.cell import Cell
from gradcore.core.graph import Graph
from gradcore.core.tensor import Tensor
from gradcore.core.trees import tree_map
from gradcore.ops import *
from gradcore.tensor import attach as _attach  # operators and methods; before `tensor` becomes a function

from gradcore.factories import arange, asarray, full, ones, tensor, zeros  # isort: skip
from gradcore.dlpack import from_dlpack  # isort: skip

from gradcore import linalg, nn, optim, random, special  # isort: skip
from gradcore.version import __version__

if _typing.TYPE_CHECKING:
    from gradcore import compile, cuda, data, io, memory, testing, train
    from gradcore.autodiff.anomaly import check_saved, detect_anomaly
    from gradcore.autodiff.checkpoint import checkpoint
    from gradcore.custom import custom_jvp, custom_vjp, elementwise, fused
    from gradcore.explanation import explain, keep_values
    from gradcore.memory import checkpoint_chain, profile

_LATER = ("compile", "cuda", "data", "io", "memory", "testing", "train")  # imported when they are first asked for
_PLACES = dict.fromkeys(("explain", "keep_values"), "gradcore.explanation")  # likewise
_PLACES |= dict.fromkeys(("check_saved", "detect_anomaly"), "gradcore.autodiff.anomaly")
_PLACES |= {"checkpoint": "gradcore.autodiff.checkpoint"}
_PLACES |= dict.fromkeys(("checkpoint_chain", "profile"), "gradcore.memory")
_PLACES |= dict.fromkeys(("custom_jvp", "custom_vjp", "elementwise", "fused"), "gradcore.custom")


def __getattr__(name: str) -> _typing.Any:
    if name in _LATER:
        return _importlib.import_module(f"gradcore.{name}")
    if name in _PLACES:
        return getattr(_importlib.import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'gradcore' has no attribute {name!r}")


def _explain_memory(device: str) -> str:
    """The largest holders of memory, for errors; what finds them is imported only then."""
    return str(_importlib.import_module("gradcore.memory.owners").explained(device))


_explainers.append(_explain_memory)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER, *_PLACES})

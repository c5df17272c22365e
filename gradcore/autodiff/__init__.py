"""The interpreters Tape, Forward, Batch and Stage, and the transforms made of them."""

from gradcore.autodiff.derivatives import hessian, hvp, jacfwd, jacobian, jacrev
from gradcore.autodiff.map_axes import vmap
from gradcore.autodiff.stage import make_graph
from gradcore.autodiff.tape import backward, no_grad
from gradcore.autodiff.transforms import grad, jvp, linearize, value_and_grad, vjp

__all__ = [
    "backward",
    "grad",
    "hessian",
    "hvp",
    "jacfwd",
    "jacobian",
    "jacrev",
    "jvp",
    "linearize",
    "make_graph",
    "no_grad",
    "value_and_grad",
    "vjp",
    "vmap",
]

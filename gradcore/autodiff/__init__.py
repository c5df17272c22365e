"""The interpreters Tape, Forward, Batch and Stage, and the transforms made of them."""

from gradcore.autodiff.stage import make_graph
from gradcore.autodiff.tape import backward, no_grad
from gradcore.autodiff.transforms import grad, jvp, value_and_grad, vjp, vmap

__all__ = ["backward", "grad", "jvp", "make_graph", "no_grad", "value_and_grad", "vjp", "vmap"]

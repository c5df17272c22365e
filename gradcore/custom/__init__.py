"""Ops of one's own: scalar formulas, composites with kernels, and functions with derivatives by hand."""

from gradcore.custom.composite import fused
from gradcore.custom.elementwise import elementwise
from gradcore.custom.rules import custom_jvp, custom_vjp

__all__ = ["custom_jvp", "custom_vjp", "elementwise", "fused"]

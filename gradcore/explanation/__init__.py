"""Explanations: the graph of a computed scalar with every value and gradient, as text, picture and page."""

from gradcore.explanation.explanation import Explanation, explain
from gradcore.explanation.log import keep_values

__all__ = ["Explanation", "explain", "keep_values"]

"""Programs: graphs with memory."""

from gradcore.compile.program import Program

__all__ = ["Program"]

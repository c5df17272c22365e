"""What goes wrong with files."""

from __future__ import annotations

from gradcore.core.errors import GradcoreError


class FileError(GradcoreError, ValueError):
    """A file cannot be written or used; the message says in one line why, and what to do."""

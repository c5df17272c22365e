"""State in and out of cells."""

from gradcore.io.state_dict import KeyDifference, restore, snapshot

__all__ = ["KeyDifference", "restore", "snapshot"]

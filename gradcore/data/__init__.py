"""Data: examples in memory, batches in a resumable order, data sets, and users' files."""

from gradcore.data import datasets
from gradcore.data.checks import DataError
from gradcore.data.dataset import ArrayDataset
from gradcore.data.files import read_file
from gradcore.data.loader import DataLoader
from gradcore.data.prepare import Split, prepare
from gradcore.data.task import Task

__all__ = ["ArrayDataset", "DataError", "DataLoader", "Split", "Task", "datasets", "prepare", "read_file"]

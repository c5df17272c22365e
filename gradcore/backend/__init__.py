"""Arrays and devices behind one small interface."""

from gradcore.backend.base import Backend, backend_of, backend_on
from gradcore.backend.device import Device
from gradcore.backend.numpy_backend import NUMPY, Arena, NumpyBackend, native

__all__ = ["NUMPY", "Arena", "Backend", "Device", "NumpyBackend", "backend_of", "backend_on", "native"]

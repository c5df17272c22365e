"""Arrays and devices behind one small interface."""

from gradcore.backend.base import Backend, Block, backend_of, backend_on, is_cupy, register_backend
from gradcore.backend.cuda.devices import backend_for
from gradcore.backend.device import Device
from gradcore.backend.numpy_backend import NUMPY, Arena, NumpyBackend, native

__all__ = [
    "NUMPY",
    "Arena",
    "Backend",
    "Block",
    "Device",
    "NumpyBackend",
    "backend_of",
    "backend_on",
    "is_cupy",
    "native",
]

register_backend("cuda", backend_for)

"""NumPy's functions on tensors, such as `np.sin(t)` and `np.linalg.solve(a, t)`, through NumPy's own protocols."""

from gradcore.numpy_protocol.dispatch import array_function, array_ufunc, cupy_kernel
from gradcore.numpy_protocol.namespace import array_namespace

__all__ = ["array_function", "array_namespace", "array_ufunc", "cupy_kernel"]

"""Matrix products of 16-bit numbers with a result of 32, which CuPy's own products do not give."""

from __future__ import annotations

from typing import Any

import cupy
import numpy as np
from cupy.cuda import cublas, device

from gradcore.backend.cuda.plans import run_plan
from gradcore.backend.half import HALF
from gradcore.kernels.bias import ADD_BIAS

HALF_TYPE, SINGLE_TYPE = 2, 0  # CUDA_R_16F and CUDA_R_32F of cudaDataType


def affine(backend: Any, out: Any, x: Any, w: Any, b: Any) -> Any:
    """X @ w.T + b for matrices x and w: a product, and a launch for the bias."""
    if x.dtype == HALF:
        product = _wide_product(backend.contiguous(x), backend.contiguous(w))
        out = cupy.empty(product.shape, HALF) if out is None else out
    else:
        product = x.dot(w.T, out)
        out = product if out is None else out
    return run_plan(backend, ADD_BIAS, None, out, (product, b), ())[0]


def _wide_product(x: Any, w: Any) -> Any:
    """X @ w.T in float32, of C-contiguous float16 matrices.  cuBLAS counts in columns, so it computes w @ x.T."""
    rows, inner = x.shape
    columns = w.shape[0]
    y = cupy.empty((rows, columns), np.float32)
    if not y.size or not inner:
        y.fill(0)
        return y
    one, zero = np.ones((), np.float32), np.zeros((), np.float32)
    cublas.gemmEx(
        device.get_cublas_handle(),
        *(cublas.CUBLAS_OP_T, cublas.CUBLAS_OP_N, columns, rows, inner, one.ctypes.data),
        *(w.data.ptr, HALF_TYPE, inner, x.data.ptr, HALF_TYPE, inner),
        *(zero.ctypes.data, y.data.ptr, SINGLE_TYPE, columns, cublas.CUBLAS_COMPUTE_32F, cublas.CUBLAS_GEMM_DEFAULT),
    )
    return y

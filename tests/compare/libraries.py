"""PyTorch and JAX, or a skip with the reason."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

torch: Any = pytest.importorskip("torch", reason='PyTorch is not installed: pip install -e ".[compare]"')
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    jax: Any = pytest.importorskip("jax", reason='JAX is not installed: pip install -e ".[compare]"')
    import jax.numpy as jnp
    import jax.scipy.special as jsp

F = torch.nn.functional
jax.config.update("jax_enable_x64", True)

__all__ = ["F", "jax", "jnp", "jsp", "torch"]

"""Functions of NumPy that refuse tensors, and why."""

from __future__ import annotations

SINGULAR_VALUES = "it needs singular values or eigenvalues, which have no rule yet"
DATA_DEPENDENT = "the shape of its result depends on the numbers"
IN_PLACE = "it changes its argument, and tensors are values; make a new one with x.at[i].set(v) or numpy.where"
NOT_REAL = "tensors hold real numbers and booleans only"
BITS = "it works on bits"
TEXT = "it makes text or files of numbers; pass .numpy()"
MISSING = "it has no rule yet"

UNSUPPORTED: dict[str, str] = {
    **dict.fromkeys(
        [f"linalg.{name}" for name in ("svd", "svdvals", "eig", "eigh", "eigvals", "eigvalsh", "pinv", "cond")],
        SINGULAR_VALUES,
    ),
    **dict.fromkeys(["linalg.matrix_rank", "linalg.lstsq", "linalg.qr", "roots", "polyfit"], SINGULAR_VALUES),
    **dict.fromkeys(["linalg.tensorinv", "linalg.tensorsolve"], MISSING),
    **dict.fromkeys(["nonzero", "argwhere", "flatnonzero", "unique", "unique_all", "unique_counts"], DATA_DEPENDENT),
    **dict.fromkeys(["unique_inverse", "unique_values", "compress", "extract", "intersect1d"], DATA_DEPENDENT),
    **dict.fromkeys(["setdiff1d", "setxor1d", "union1d", "in1d", "trim_zeros", "bincount", "resize"], DATA_DEPENDENT),
    **dict.fromkeys(["histogram", "histogram2d", "histogram_bin_edges", "histogramdd", "delete"], DATA_DEPENDENT),
    **dict.fromkeys(["copyto", "fill_diagonal", "place", "put", "put_along_axis", "putmask"], IN_PLACE),
    **dict.fromkeys(["angle", "sort_complex", "real_if_close", "poly", "unwrap", "iscomplex", "isreal"], NOT_REAL),
    **dict.fromkeys(["packbits", "unpackbits", "left_shift", "right_shift", "bitwise_count", "gcd", "lcm"], BITS),
    **dict.fromkeys(["spacing", "nextafter", "frexp", "ldexp", "signbit", "copysign"], BITS),
    **dict.fromkeys(["array2string", "array_repr", "array_str", "save", "savetxt", "savez", "savez_compressed"], TEXT),
    **dict.fromkeys(["busday_count", "busday_offset", "datetime_as_string", "is_busday", "isnat"], NOT_REAL),
    **dict.fromkeys(["apply_along_axis", "apply_over_axes", "piecewise"], "it calls Python code; use gradcore.vmap"),
    **dict.fromkeys(["partition", "argpartition", "lexsort", "choose", "insert", "isin", "interp"], MISSING),
    **dict.fromkeys(["i0", "sinc", "polyder", "polydiv", "polyint", "polymul", "polyadd", "polysub"], MISSING),
    **dict.fromkeys(["nanmedian", "nanpercentile", "nanquantile", "nancumsum", "nancumprod"], MISSING),
    **dict.fromkeys(["nanargmax", "nanargmin", "geomspace", "logspace", "digitize", "array_equiv"], MISSING),
    **dict.fromkeys(["ravel_multi_index", "unravel_index", "diag_indices_from", "tril_indices_from"], MISSING),
    **dict.fromkeys(["triu_indices_from", "ix_", "einsum_path", "min_scalar_type", "linspace"], MISSING),
    **dict.fromkeys(["may_share_memory", "shares_memory", "common_type", "can_cast", "block", "vander"], MISSING),
}

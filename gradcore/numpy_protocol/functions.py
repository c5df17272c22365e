"""The rules of NumPy's functions: each is a function of ours, with the parameters of NumPy that it takes."""

from __future__ import annotations

from gradcore import ops
from gradcore.numpy_protocol import composed, matrices, statistics
from gradcore.numpy_protocol.rules import rule, rules, variadic

# --- reductions -------------------------------------------------------------------------------------------------------

rules(
    """
    sum: a=x axis dtype! -out keepdims -initial -where
    prod: a=x axis dtype! -out keepdims -initial -where
    mean: a=x axis dtype! -out keepdims * -where
    max: a=x axis -out keepdims -initial -where
    min: a=x axis -out keepdims -initial -where
    median: a=x axis -out -overwrite_input keepdims
    cumsum: a=x axis dtype! -out
    cumprod: a=x axis dtype! -out
    quantile: a=x q axis -out -overwrite_input method keepdims * -weights
    """,
    ops,
)
rule("amax", ops.max, "a=x axis -out keepdims -initial -where")
rule("amin", ops.min, "a=x axis -out keepdims -initial -where")
rules(
    """
    var: a axis dtype! -out ddof keepdims * -where -mean correction
    std: a axis dtype! -out ddof keepdims * -where -mean correction
    ptp: a axis -out keepdims
    percentile: a q axis -out -overwrite_input method keepdims * -weights
    average: a axis weights -returned * keepdims
    nansum: a axis dtype! -out keepdims -initial -where
    nanprod: a axis dtype! -out keepdims -initial -where
    nanmean: a axis dtype! -out keepdims * -where
    nanvar: a axis dtype! -out ddof keepdims * -where -mean correction
    nanstd: a axis dtype! -out ddof keepdims * -where -mean correction
    nanmax: a axis -out keepdims -initial -where
    nanmin: a axis -out keepdims -initial -where
    cumulative_sum: x * axis dtype! -out include_initial
    cumulative_prod: x * axis dtype! -out include_initial
    cov: m y rowvar bias ddof -fweights -aweights * dtype!
    corrcoef: x y rowvar * dtype!
    trapezoid: y x dx axis
    diff: a n axis prepend append
    ediff1d: ary to_end to_begin
    """,
    statistics,
)
rule("trapz", statistics.trapezoid, "y x dx axis")
variadic("gradient", statistics.gradient, "axis edge_order")
rules(
    """
    all: a=x axis -out keepdims * -where
    any: a=x axis -out keepdims * -where
    argmax: a=x axis -out * keepdims
    argmin: a=x axis -out * keepdims
    searchsorted: a=sorted v=values side -sorter
    """,
    ops,
    differentiable=False,
)
rule("count_nonzero", statistics.count_nonzero, "a axis * keepdims", differentiable=False)

# --- shapes -----------------------------------------------------------------------------------------------------------

rules(
    """
    ravel: a=x -order
    squeeze: a=x axis
    expand_dims: a=x axis
    swapaxes: a=x axis1 axis2
    moveaxis: a=x source destination
    broadcast_to: array=x shape -subok
    flip: m=x axis
    roll: a=x shift axis
    repeat: a=x repeats axis
    tile: A=x reps
    split: ary=x indices_or_sections axis
    array_split: ary=x indices_or_sections axis
    take: a=x indices axis -out -mode
    take_along_axis: arr=x indices axis
    diagonal: a=x offset axis1 axis2
    trace: a=x offset axis1 axis2 dtype! -out
    tril: m=x k
    triu: m=x k
    diag: v=x k
    pad: array=x pad_width mode * constant_values
    """,
    ops,
)
rule("transpose", ops.transpose, "a=x axes")
rule("permute_dims", ops.transpose, "a=x axes")
rules(
    """
    reshape: a shape order * -copy
    rot90: m k axes
    rollaxis: a axis start
    fliplr: m
    flipud: m
    hsplit: ary indices_or_sections
    vsplit: ary indices_or_sections
    dsplit: ary indices_or_sections
    unstack: x * axis
    append: arr values axis
    diagflat: v k
    copy: a -order -subok
    astype: x dtype * -copy -device
    real: val
    matrix_transpose: x
    """,
    composed,
)
rule("argsort", composed.argsort, "a axis -kind -order * -stable", differentiable=False)
rule("sort", composed.sort, "a axis -kind -order * -stable")
rule("imag", composed.imag, "val", differentiable=False)
variadic("meshgrid", composed.meshgrid, "indexing sparse -copy")
variadic("broadcast_arrays", composed.broadcast_arrays, "-subok")
for name in ("atleast_1d", "atleast_2d", "atleast_3d"):
    variadic(name, getattr(composed, name))

# --- joining and choosing ---------------------------------------------------------------------------------------------

for name in ("concatenate", "concat"):
    rule(name, composed.concatenate, "arrays axis -out * -dtype -casting")
rules(
    """
    stack: arrays axis -out * -dtype -casting
    hstack: tup * -dtype -casting
    vstack: tup * -dtype -casting
    dstack: tup
    column_stack: tup
    where: condition x y
    select: condlist choicelist default
    clip: a a_min a_max -out * min max
    nan_to_num: x -copy nan posinf neginf
    """,
    composed,
)
rules("round: a=x decimals -out", ops, differentiable=False)
rule("around", ops.round, "a=x decimals -out", differentiable=False)
rule("fix", composed.fix, "x -out", differentiable=False)
rules(
    """
    isclose: a b rtol atol equal_nan
    allclose: a b rtol atol equal_nan
    array_equal: a1 a2 equal_nan
    isposinf: x -out
    isneginf: x -out
    shape: a
    ndim: a
    size: a axis
    iscomplexobj: x
    isrealobj: x
    zeros_like: a dtype -order -subok shape * -device
    ones_like: a dtype -order -subok shape * -device
    empty_like: prototype dtype -order -subok shape * -device
    full_like: a fill_value dtype -order -subok shape * -device
    """,
    composed,
    differentiable=False,
)
variadic("result_type", composed.result_type, differentiable=False)

# --- products ---------------------------------------------------------------------------------------------------------

rules(
    """
    dot: a b -out
    vdot: a b
    inner: a b
    outer: a b -out
    kron: a b
    tensordot: a b axes
    """,
    ops,
)
variadic("einsum", ops.einsum, "-out -optimize -dtype -order -casting")
rules(
    """
    cross: a b axisa axisb axisc axis
    convolve: a v mode
    correlate: a v mode
    polyval: p x
    """,
    composed,
)

# --- numpy.linalg -----------------------------------------------------------------------------------------------------

rule("linalg.norm", ops.norm, "x ord axis keepdims")
rule("linalg.matmul", ops.matmul, "x1=a x2=b")
rule("linalg.outer", ops.outer, "x1=a x2=b")
rule("linalg.tensordot", ops.tensordot, "x1=a x2=b * axes")
rules(
    """
    linalg.solve: a b
    linalg.inv: a
    linalg.det: a
    linalg.slogdet: a
    linalg.cholesky: a * upper
    linalg.matrix_power: a n
    linalg.multi_dot: arrays * -out
    linalg.matrix_norm: x * keepdims ord
    linalg.vector_norm: x * axis keepdims ord
    linalg.matrix_transpose: x
    linalg.diagonal: x * offset
    linalg.trace: x * offset dtype!
    linalg.vecdot: x1 x2 * axis
    linalg.cross: x1 x2 * axis
    """,
    matrices,
)

"""Kernels for the training steps written by hand in CuPy: what somebody who knows CUDA would write for these sizes."""

from __future__ import annotations

from functools import cache
from typing import Any

TEXT = r"""
__device__ float block_sum(float value, float* room) {
    for (int k = 16; k > 0; k >>= 1) value += __shfl_xor_sync(0xffffffffu, value, k);
    __syncthreads();
    if (threadIdx.x % 32 == 0) room[threadIdx.x / 32] = value;
    __syncthreads();
    float total = 0.0f;
    for (int i = 0; i < blockDim.x / 32; i++) total += room[i];
    return total;
}

// One block for the whole batch, one warp for each row: the mean loss and the gradient of the logits.
extern "C" __global__ void cross_entropy(const float* z, const float* bias, const long long* labels, float* loss,
                                         float* gradient, int rows, int n) {
    __shared__ float room[32];
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    float total = 0.0f;
    for (int row = warp; row < rows; row += warps) {
        const float* x = z + (size_t)row * n;
        float* g = gradient + (size_t)row * n;
        float top = -INFINITY, sum = 0.0f;
        for (int j = lane; j < n; j += 32) top = fmaxf(top, x[j] + bias[j]);
        for (int k = 16; k > 0; k >>= 1) top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, k));
        for (int j = lane; j < n; j += 32) sum += expf(x[j] + bias[j] - top);
        for (int k = 16; k > 0; k >>= 1) sum += __shfl_xor_sync(0xffffffffu, sum, k);
        int label = (int)labels[row];
        for (int j = lane; j < n; j += 32) g[j] = (expf(x[j] + bias[j] - top) / sum - (j == label)) / rows;
        if (lane == 0) total += logf(sum) + top - x[label] - bias[label];
    }
    total = block_sum(total, room);
    if (threadIdx.x == 0) *loss = total / rows;
}

extern "C" __global__ void column_sum(const float* x, float* total, int rows, int n) {
    int j = blockIdx.x * blockDim.x + threadIdx.x;
    if (j >= n) return;
    float sum = 0.0f;
    for (int row = 0; row < rows; row++) sum += x[(size_t)row * n + j];
    total[j] = sum;
}

extern "C" __global__ void layer_norm(const float* x, const float* w, const float* b, float* y, float* mean,
                                      float* rstd, int n) {
    __shared__ float room[32];
    x += (size_t)blockIdx.x * n;
    y += (size_t)blockIdx.x * n;
    float sum = 0.0f, square = 0.0f;
    for (int j = threadIdx.x; j < n; j += blockDim.x) sum += x[j];
    float m = block_sum(sum, room) / n;
    for (int j = threadIdx.x; j < n; j += blockDim.x) square += (x[j] - m) * (x[j] - m);
    float r = rsqrtf(block_sum(square, room) / n + 1e-5f);
    for (int j = threadIdx.x; j < n; j += blockDim.x) y[j] = (x[j] - m) * r * w[j] + b[j];
    if (threadIdx.x == 0) { mean[blockIdx.x] = m; rstd[blockIdx.x] = r; }
}

extern "C" __global__ void layer_norm_rows(const float* g, const float* x, const float* w, const float* mean,
                                           const float* rstd, float* gx, int n) {
    __shared__ float room[32];
    size_t start = (size_t)blockIdx.x * n;
    float m = mean[blockIdx.x], r = rstd[blockIdx.x], a = 0.0f, c = 0.0f;
    for (int j = threadIdx.x; j < n; j += blockDim.x) {
        float gw = g[start + j] * w[j];
        a += gw;
        c += gw * (x[start + j] - m) * r;
    }
    a = block_sum(a, room) / n;
    c = block_sum(c, room) / n;
    for (int j = threadIdx.x; j < n; j += blockDim.x)
        gx[start + j] = r * (g[start + j] * w[j] - a - (x[start + j] - m) * r * c);
}

extern "C" __global__ void layer_norm_columns(const float* g, const float* x, const float* mean, const float* rstd,
                                              float* gw, float* gb, int rows, int n) {
    int j = blockIdx.x * blockDim.x + threadIdx.x;
    if (j >= n) return;
    float w = 0.0f, b = 0.0f;
    for (int row = 0; row < rows; row++) {
        float one = g[(size_t)row * n + j];
        w += one * (x[(size_t)row * n + j] - mean[row]) * rstd[row];
        b += one;
    }
    gw[j] = w;
    gb[j] = b;
}
"""

KEPT = """
unsigned long long z = key + 0x9e3779b97f4a7c15ULL * (i + 1);
z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
bool kept = (float)(z >> 40) * 0x1p-24f >= rate;
"""


@cache
def raw(name: str) -> Any:
    """A kernel of the text."""
    import cupy

    return cupy.RawModule(code=TEXT, options=("--std=c++17",)).get_function(name)


@cache
def elementwise(name: str) -> Any:
    """An elementwise kernel, or the reduction for the norm."""
    import cupy

    made = {
        "add": ("T z, T b", "T y", "y = z + b"),
        "bias_relu": ("T z, T b", "T y", "y = max(z + b, (T)0)"),
        "relu": ("T z", "T y", "y = max(z, (T)0)"),
        "relu_gradient": ("T g, T y", "T gx", "gx = y > 0 ? g : (T)0"),
        "dropout": ("T x, uint64 key, T rate", "T y", f"{KEPT} y = kept ? x / (1 - rate) : (T)0;"),
        "clip": ("T g, raw T norm, T most", "T out", "T f = most / (norm[0] + (T)1e-6); out = f < 1 ? g * f : g"),
        "adamw": (
            "T g, T rate, T decay, T first, T second",
            "T p, T m, T v",
            """
            m = (T)0.9 * m + (T)0.1 * g;
            v = (T)0.999 * v + (T)0.001 * g * g;
            p -= rate * decay * p + rate / first * m / (sqrt(v / second) + (T)1e-8);
            """,
        ),
    }
    if name == "norm":
        return cupy.ReductionKernel("T g", "T norm", "g * g", "a + b", "norm = sqrt(a)", "0", "by_hand_norm")
    return cupy.ElementwiseKernel(*made[name], f"by_hand_{name}")

# gradcore on an NVIDIA GPU.  The host needs driver 580 or newer and the NVIDIA Container Toolkit.
#
#     docker build -t gradcore .
#     docker run --rm --gpus all gradcore                                   # what is installed, and which device is used
#     docker run --rm --gpus all -v gradcore-kernels:/cache gradcore warmup # compiles the kernels once for this GPU
#     docker run --rm --gpus all -v gradcore-kernels:/cache -v gradcore-runs:/runs gradcore train digits --device cuda
#
# The tag of the base image stays what it is, as NVIDIA does not move tags.  For the very same bytes, build with
# --build-arg BASE=nvidia/cuda@sha256:...; `docker buildx imagetools inspect nvidia/cuda:13.0.1-runtime-ubuntu24.04`
# prints the digest.
ARG BASE=nvidia/cuda:13.0.1-runtime-ubuntu24.04

FROM ${BASE} AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3-venv=3.12.3-* \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY docker/requirements.txt docker/
RUN python3 -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir --no-deps --only-binary=:all: --requirement docker/requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY kernels kernels
COPY gradcore gradcore
RUN /opt/venv/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheel .

# cuBLAS and its like come from the base image.  CuPy looks for CUDA's headers beside NVRTC, and the base image has none:
# so NVRTC is that of PyPI, with the header beside it (docker/requirements.txt).
FROM ${BASE}
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3=3.12.3-* \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --no-log-init --uid 10001 --create-home gradcore \
    && install --directory --owner gradcore --group gradcore /runs /cache
COPY --from=build /opt/venv /opt/venv
# A layer of its own, so that a change of gradcore ships a megabyte and not CuPy.
RUN --mount=type=bind,from=build,source=/wheel,target=/wheel \
    /opt/venv/bin/pip install --no-cache-dir --no-deps --no-index /wheel/*.whl \
    && /opt/venv/bin/pip check
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    CUPY_CACHE_DIR=/cache
USER 10001:10001
WORKDIR /runs
VOLUME ["/runs", "/cache"]
HEALTHCHECK --interval=5m --timeout=1m --start-period=1m --retries=3 CMD ["gradcore", "doctor"]
ENTRYPOINT ["gradcore"]
CMD ["doctor"]

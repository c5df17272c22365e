"""CUDA: CuPy arrays.  The only folder that imports CuPy, and only when a CUDA device is first asked for."""

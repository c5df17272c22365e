"""NVIDIA's runtime compiler: does it take a kernel's text, and what does the kernel need?  No GPU is needed.

The library is that of the package `nvidia-cuda-nvrtc`, the header of float16 that of `nvidia-cuda-runtime`; both come
with `pip install 'gradcore[nvrtc]'`.  The functions are those of NVIDIA's "NVRTC" guide, and the figures are what
`--ptxas-options=-v` reports.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

OPTIONS = ("--std=c++17", "--fmad=false")
_PACKAGES = {"nvidia-cuda-nvrtc": r"(libnvrtc\.so.*|nvrtc64_\d+_\d+\.dll)", "nvidia-cuda-runtime": r"cuda_fp16\.h"}


class CompileError(Exception):
    """The compiler refused a text; the message is its log."""


@dataclass(frozen=True)
class Resources:
    """What one kernel needs: registers of a thread, and bytes of the rest."""

    registers: int = 0
    spill_stores: int = 0
    spill_loads: int = 0
    stack: int = 0
    shared: int = 0


@dataclass(frozen=True)
class Compiled:
    """What the compiler made of a text: PTX, its log, and the resources of each kernel."""

    ptx: str
    log: str
    resources: dict[str, Resources]


def missing() -> str | None:
    """Why nothing can be compiled here, and the cure; None where it can."""
    absent = [name for name in _PACKAGES if _find(name) is None]
    if not absent:
        return None
    return f"{' and '.join(absent)} not installed: pip install -e '.[nvrtc]'"


def compile(source: str, arch: int, name: str = "kernel.cu", options: Sequence[str] = OPTIONS) -> Compiled:
    """Compile CUDA for the machine code of one architecture.

    Args:
        source: the text.
        arch: compute capability without its point, such as 75 or 90.
        name: stands in the log before each message.
        options: of the compiler.

    Raises:
        CompileError: the text is not taken.
        RuntimeError: the compiler is not installed.
    """
    library, program = _library(), ctypes.c_void_p()
    _check(library.nvrtcCreateProgram(ctypes.byref(program), source.encode(), name.encode(), 0, None, None))
    try:
        words = [f"-arch=sm_{arch}", "--ptxas-options=-v", f"-I{_header()}", *options]
        failed = library.nvrtcCompileProgram(
            program, len(words), (ctypes.c_char_p * len(words))(*map(str.encode, words))
        )
        log = _text(library.nvrtcGetProgramLogSize, library.nvrtcGetProgramLog, program)
        if failed:
            raise CompileError(f"{name} for sm_{arch}: {_message(failed)}\n{log}")
        ptx = _text(library.nvrtcGetPTXSize, library.nvrtcGetPTX, program)
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))
    return Compiled(ptx, log, resources(log))


def version() -> str:
    """The compiler's, such as "13.0"."""
    major, minor = ctypes.c_int(), ctypes.c_int()
    _check(_library().nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)))
    return f"{major.value}.{minor.value}"


# --- the log ----------------------------------------------------------------------------------------------------------

_FIGURES = {
    "registers": r"Used (\d+) registers",
    "spill_stores": r"(\d+) bytes spill stores",
    "spill_loads": r"(\d+) bytes spill loads",
    "stack": r"(\d+) bytes stack frame",
    "shared": r"(\d+) bytes smem",
}


def resources(log: str) -> dict[str, Resources]:
    """The figures of each kernel in a log; those of functions that a kernel calls are added to its own."""
    parts = re.split(r"Compiling entry function '(\w+)'", log)[1:]
    return {name: _figures(text) for name, text in zip(parts[::2], parts[1::2], strict=True)}


def _figures(text: str) -> Resources:
    found = {name: sum(map(int, re.findall(pattern, text))) for name, pattern in _FIGURES.items()}
    return replace(Resources(), **found)


# --- the library ------------------------------------------------------------------------------------------------------


@cache
def _find(package: str) -> Path | None:
    return next(_matching(package, _PACKAGES[package]), None)


def _matching(package: str, pattern: str) -> Iterator[Path]:
    try:
        owned = files(package) or ()
    except PackageNotFoundError:
        return
    for file in owned:
        if re.fullmatch(pattern, file.name):
            yield Path(str(file.locate()))


@cache
def _library() -> ctypes.CDLL:
    if reason := missing():
        raise RuntimeError(reason)
    path = _find("nvidia-cuda-nvrtc")
    assert path is not None
    for part in path.parent.glob("libnvrtc-builtins.so.*"):  # NVRTC 13.0 looks for it by name only
        ctypes.CDLL(str(part))
    library = ctypes.CDLL(str(path))
    library.nvrtcGetErrorString.restype = ctypes.c_char_p
    return library


def _header() -> Path:
    found = _find("nvidia-cuda-runtime")
    assert found is not None
    return found.parent


def _check(result: int) -> None:
    if result:
        raise RuntimeError(f"NVRTC: {_message(result)}")


def _message(result: int) -> str:
    return str(_library().nvrtcGetErrorString(result).decode())


def _text(size_of: ctypes._NamedFuncPointer, read: ctypes._NamedFuncPointer, program: ctypes.c_void_p) -> str:
    size = ctypes.c_size_t()
    _check(size_of(program, ctypes.byref(size)))
    buffer = ctypes.create_string_buffer(size.value)
    _check(read(program, buffer))
    return buffer.value.decode()

"""gradcore doctor."""

from __future__ import annotations

import json
import platform
import shutil
import textwrap
from typing import Annotated, Any

import typer

EXTRAS = {
    "cli": ("typer", "tqdm"),
    "plot": ("matplotlib",),
    "tensorboard": ("tensorboardX",),
    "demo": ("scikit-learn",),
    "compare": ("torch", "jax", "autograd"),
}
WHY_CPU = "this version computes on the CPU only; its CUDA kernels are derived, but not launched yet"


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """Say what is installed, which device is used and why, and whether gradcore works here."""
    report = examine()
    print(json.dumps(report, indent=2) if as_json else _table(report))
    raise typer.Exit(0 if report["works"] else 1)


def examine() -> dict[str, Any]:
    """Everything that `gradcore doctor` says; nothing in here raises, and CuPy is not imported."""
    from gradcore.version import __version__

    driver = cuda_driver()
    problem = self_check()
    return {
        "gradcore": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "numpy": _version("numpy"),
        "blas": _blas(),
        "scipy": _version("scipy"),
        "safetensors": _version("safetensors"),
        "cupy": next((found for name in ("cupy-cuda13x", "cupy-cuda12x", "cupy") if (found := _version(name))), None),
        "cuda_driver": driver,
        "nvidia_smi": shutil.which("nvidia-smi"),
        "extras": {extra: {name: _version(name) for name in names} for extra, names in EXTRAS.items()},
        "device": "cpu",
        "reason": WHY_CPU,
        "advice": advice(driver),
        "works": problem is None,
        "problem": problem,
    }


def self_check() -> str | None:
    """None where the gradient of sum(x³) at (1, 2) is (3, 12), by `grad` and by `backward()`; else what is wrong."""
    try:
        from gradcore.autodiff import grad
        from gradcore.tensor import tensor

        x = tensor([1.0, 2.0], requires_grad=True)
        (x * x * x).sum().backward()
        found = [grad(lambda v: (v**3).sum())(tensor([1.0, 2.0])), x.grad]
        wrong = [g.numpy().tolist() for g in found if g.numpy().tolist() != [3.0, 12.0]]
        return f"a gradient is {wrong[0]}, not [3.0, 12.0]" if wrong else None
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def cuda_driver() -> str | None:
    """The newest CUDA version that the NVIDIA driver supports, such as "12.4"; None without a driver."""
    import ctypes

    for name in ("libcuda.so.1", "nvcuda.dll"):
        try:
            version = ctypes.c_int()
            if ctypes.CDLL(name).cuDriverGetVersion(ctypes.byref(version)) == 0 and version.value > 0:
                return f"{version.value // 1000}.{version.value % 1000 // 10}"
        except (OSError, AttributeError):
            continue
    return None


def advice(driver: str | None) -> str:
    """What to install for the other device.

    >>> advice("12.4")
    'for CUDA, once kernels are launched: pip install cupy-cuda12x'
    """
    if driver is None:
        return "for CUDA: no NVIDIA driver was found; install one first (https://www.nvidia.com/drivers)"
    major = int(driver.split(".")[0])
    if major < 12:
        return f"for CUDA: the driver supports CUDA {driver}; gradcore needs 12 or newer, so update the driver"
    return f"for CUDA, once kernels are launched: pip install cupy-cuda{min(major, 13)}x"


def _blas() -> str | None:
    import numpy as np

    try:
        blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
        return f"{blas['name']} {blas['version']}"
    except Exception:
        return None


def _version(name: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _table(report: dict[str, Any]) -> str:
    rows = [
        (name, report[name]) for name in ("gradcore", "python", "platform", "numpy", "blas", "scipy", "safetensors")
    ]
    rows += [("cupy", report["cupy"]), ("cuda driver", report["cuda_driver"]), ("nvidia-smi", report["nvidia_smi"])]
    for extra, packages in report["extras"].items():
        rows.append((f"[{extra}]", _packages(packages) + _cure(packages)))
    rows += [("device", f"{report['device']}: {report['reason']}"), ("", report["advice"])]
    rows.append(("self-check", "a gradient is right" if report["works"] else f"FAILED: {report['problem']}"))
    return "\n".join(_row(name, value or "not found") for name, value in rows)


def _row(name: str, text: str) -> str:
    """A name and its text, in as many lines of 80 letters as it takes."""
    return textwrap.fill(text, 80, initial_indent=f"{name:<14}", subsequent_indent=" " * 14, break_on_hyphens=False)


def _packages(packages: dict[str, str | None]) -> str:
    return ", ".join(f"{name} {version or 'missing'}" for name, version in packages.items())


def _cure(packages: dict[str, str | None]) -> str:
    missing = [name for name, version in packages.items() if version is None]
    return f"; pip install {' '.join(missing)}" if missing else ""

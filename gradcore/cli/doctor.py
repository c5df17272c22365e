"""gradcore doctor."""

from __future__ import annotations

import json
import platform
import shutil
import sys
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
PACKAGES_OF_CUPY = ("cupy-cuda13x", "cupy-cuda12x", "cupy")


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """Say what is installed, which device is used and why, and whether gradcore works here."""
    report = examine()
    print(json.dumps(report, indent=2) if as_json else _table(report))
    raise typer.Exit(0 if report["works"] else 1)


def examine() -> dict[str, Any]:
    """Everything that `gradcore doctor` says; nothing in here raises.  CuPy is imported where it is installed."""
    from gradcore.version import __version__

    driver, (devices, why_not) = cuda_driver(), cuda_devices()
    problems = {name: self_check(name) for name in ("cpu", *devices)}
    problem = next((f"on {name}: {found}" for name, found in problems.items() if found is not None), None)
    return {
        "gradcore": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "numpy": _version("numpy"),
        "blas": _blas(),
        "scipy": _version("scipy"),
        "safetensors": _version("safetensors"),
        "cupy": next((found for name in PACKAGES_OF_CUPY if (found := _version(name))), None) or _cupy_version(),
        "cuda_driver": driver,
        "nvidia_smi": shutil.which("nvidia-smi"),
        "extras": {extra: {name: _version(name) for name in names} for extra, names in EXTRAS.items()},
        "cuda_devices": devices,
        "device": next(iter(devices), "cpu"),
        "reason": why_not or f"CuPy finds {len(devices)} CUDA device{'' if len(devices) == 1 else 's'}",
        "advice": advice(driver) if why_not else "for a first training step without waiting: gradcore warmup",
        "works": problem is None,
        "problem": problem,
    }


def cuda_devices() -> tuple[dict[str, dict[str, Any]], str | None]:
    """Name, bytes of memory and compute capability of each CUDA device, and why there is none."""
    try:
        from gradcore import cuda

        cuda.get_device_name()
        found = [cuda.get_device_properties(index) for index in range(cuda.device_count())]
    except Exception as error:
        return {}, str(error).removeprefix("no CUDA device can be used: ")
    described = [(d.name, d.total_memory, "{}.{}".format(*d.capability)) for d in found]
    keys = ("name", "memory", "capability")
    return {f"cuda:{i}": dict(zip(keys, values, strict=True)) for i, values in enumerate(described)}, None


def self_check(device: str = "cpu") -> str | None:
    """What is wrong with gradients and matrix products on a device, or None."""
    try:
        return _wrong_gradient(device) or _wrong_product(device)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def _wrong_gradient(device: str) -> str | None:
    """The gradient of sum(x³) at (1, 2) is (3, 12), by `grad` and by `backward()`."""
    from gradcore.autodiff import grad
    from gradcore.factories import tensor

    x = tensor([1.0, 2.0], device=device, requires_grad=True)
    (x * x * x).sum().backward()
    found = [grad(lambda v: (v**3).sum())(tensor([1.0, 2.0], device=device)), x.grad]
    wrong = [g.numpy().tolist() for g in found if g.numpy().tolist() != [3.0, 12.0]]
    return f"a gradient is {wrong[0]}, not [3.0, 12.0]" if wrong else None


def _wrong_product(device: str) -> str | None:
    """Sums of 32 times 1 + 1/4096 are exact in float32, but not with fewer bits, as in NVIDIA's TF32."""
    from gradcore.factories import full, ones

    product = full((32, 32), 1 + 2**-12, device=device) @ ones(32, 32, device=device)
    wrong = [x for row in product.numpy().tolist() for x in row if x != 32 + 2**-7]
    return f"a matrix product in float32 has {wrong[0]}, not {32 + 2**-7}" if wrong else None


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
    "for CUDA: pip install 'gradcore[cuda12]'"
    """
    if driver is None:
        return "for CUDA: no NVIDIA driver was found; install one first (https://www.nvidia.com/drivers)"
    major = int(driver.split(".")[0])
    if major < 12:
        return f"for CUDA: the driver supports CUDA {driver}; gradcore needs 12 or newer, so update the driver"
    return f"for CUDA: pip install 'gradcore[cuda{min(major, 13)}]'"


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


def _cupy_version() -> str | None:
    """Of a CuPy that came in another package."""
    cupy = sys.modules.get("cupy")
    return None if cupy is None else str(cupy.__version__)


def _table(report: dict[str, Any]) -> str:
    rows = [
        (name, report[name]) for name in ("gradcore", "python", "platform", "numpy", "blas", "scipy", "safetensors")
    ]
    rows += [("cupy", report["cupy"]), ("cuda driver", report["cuda_driver"]), ("nvidia-smi", report["nvidia_smi"])]
    rows += [(name, _device(about)) for name, about in report["cuda_devices"].items()]
    for extra, packages in report["extras"].items():
        rows.append((f"[{extra}]", _packages(packages) + _cure(packages)))
    rows += [("device", f"{report['device']}: {report['reason']}"), ("", report["advice"])]
    right = f"gradients and matrix products are right on {', '.join(['cpu', *report['cuda_devices']])}"
    rows.append(("self-check", right if report["works"] else f"FAILED {report['problem']}"))
    return "\n".join(_row(name, value or "not found") for name, value in rows)


def _row(name: str, text: str) -> str:
    """A name and its text, in as many lines of 80 letters as it takes."""
    return textwrap.fill(text, 80, initial_indent=f"{name:<14}", subsequent_indent=" " * 14, break_on_hyphens=False)


def _device(about: dict[str, Any]) -> str:
    return f"{about['name']}, {about['memory'] / 2**30:.1f} GiB, compute capability {about['capability']}"


def _packages(packages: dict[str, str | None]) -> str:
    return ", ".join(f"{name} {version or 'missing'}" for name, version in packages.items())


def _cure(packages: dict[str, str | None]) -> str:
    missing = [name for name, version in packages.items() if version is None]
    return f"; pip install {' '.join(missing)}" if missing else ""

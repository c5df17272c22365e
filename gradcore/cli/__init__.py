"""The command line, `gradcore`.  Its packages are extras, so they are imported only when it runs."""

from __future__ import annotations

import sys
from typing import NoReturn

OPTIONAL = {name: name for name in ("typer", "tqdm", "matplotlib", "tensorboardX")} | {"sklearn": "scikit-learn"}
INTERRUPTED = 130


def main() -> None:
    """Run the command line and exit.

    Exit codes: 0 done, 1 failed, 2 wrong usage or a package is missing, 130 interrupted.
    """
    try:
        sys.exit(_run())
    except KeyboardInterrupt:
        _stop("interrupted", INTERRUPTED)
    except ImportError as error:
        module = (error.name or "").split(".")[0]
        if module not in OPTIONAL:
            raise
        _stop(f"{OPTIONAL[module]} is not installed; run: pip install {OPTIONAL[module]}", 2)


def _run() -> int:
    """The exit code of the command; wrong usage becomes one line, not a panel."""
    from typer import Abort

    from gradcore.cli.app import app
    from gradcore.cli.output import CommandError
    from gradcore.core.errors import KernelError, OutOfMemoryError
    from gradcore.data import DataError
    from gradcore.io import FileError

    try:
        code = int(app(standalone_mode=False) or 0)
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        return code
    except Abort:  # what older versions of typer make of it
        raise KeyboardInterrupt from None
    except CommandError as error:
        _stop(str(error), error.code)
    except (DataError, FileError) as error:
        _stop(str(error), 2)
    except OSError as error:
        _stop(str(error), 1)
    except (OutOfMemoryError, KernelError) as error:
        _stop(str(error), 1)
    except MemoryError:
        _stop("there is not enough memory", 1)
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        return _explain(error.format_message())


def _explain(message: str) -> int:
    """Wrong usage in one line; a command without its subcommand shows its help."""
    if message.startswith("Usage:"):
        print(message, file=sys.stderr)
        return 2
    message = message.replace("Value error, ", "").rstrip(".")  # pydantic's words in newer versions of typer
    _stop(f"{message}; see gradcore --help", 2)


def _stop(message: str, code: int) -> NoReturn:
    print("gradcore:", " ".join(message.split()), file=sys.stderr)
    sys.exit(code)

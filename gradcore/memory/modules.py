"""Which module is at work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import get_ident
from typing import Any


@contextmanager
def followed(model: Any, stack: list[str]) -> Iterator[None]:
    """While the block runs, a call of a module of `model` in this thread has its path on `stack`.

    The modules' classes get another `__call__` meanwhile.  The frames of the calls would tell as much, but to look at
    the `self` of a frame makes Python before 3.13 hold all its local variables, and with them memory.
    """
    named = list(model.named_modules())
    paths = {id(module): path or type(module).__name__ for path, module in named}
    kinds = {type(module) for _, module in named}
    own = {kind: vars(kind).get("__call__") for kind in kinds}
    told = {kind: _told(kind.__call__, paths, stack, get_ident()) for kind in kinds}
    try:
        for kind in kinds:
            kind.__call__ = told[kind]
        yield
    finally:
        for kind, call in own.items():
            if call is None:
                del kind.__call__
            else:
                kind.__call__ = call


def _told(call: Callable[..., Any], paths: dict[int, str], stack: list[str], thread: int) -> Callable[..., Any]:
    def told(self: Any, *args: Any, **kwargs: Any) -> Any:
        path = paths.get(id(self))
        if path is None or get_ident() != thread:
            return call(self, *args, **kwargs)
        stack.append(path)
        try:
            return call(self, *args, **kwargs)
        finally:
            stack.pop()

    return told

"""Which module is at work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock, get_ident
from typing import Any, NamedTuple


class Follower(NamedTuple):
    """Who wants to know, in which thread: paths by the `id` of a module, and the stack to put them on."""

    thread: int
    paths: dict[int, str]
    stack: list[str]


class Followed(NamedTuple):
    """A class whose calls are followed: its own `__call__`, if it has one, and who follows."""

    own: Any
    followers: list[Follower]


_followed: dict[type, Followed] = {}
_lock = Lock()


@contextmanager
def followed(model: Any, stack: list[str]) -> Iterator[None]:
    """While the block runs, a call of a module of `model` in this thread has its path on `stack`.

    The modules' classes get another `__call__` meanwhile, one for all followers: blocks of several threads end in any
    order.  The frames of the calls would tell as much, but to look at the `self` of a frame makes Python before 3.13
    hold all its local variables, and with them memory.
    """
    named = list(model.named_modules())
    follower = Follower(get_ident(), {id(module): path or type(module).__name__ for path, module in named}, stack)
    kinds = {type(module) for _, module in named}
    try:
        for kind in kinds:
            _follow(kind, follower)
        yield
    finally:
        for kind in kinds:
            _leave(kind, follower)


def _follow(kind: Any, follower: Follower) -> None:
    with _lock:
        if kind not in _followed:
            followers: list[Follower] = []
            _followed[kind] = Followed(vars(kind).get("__call__"), followers)
            kind.__call__ = _told(kind.__call__, followers)
        _followed[kind].followers.append(follower)


def _leave(kind: Any, follower: Follower) -> None:
    with _lock:
        own, followers = _followed[kind]
        followers[:] = [other for other in followers if other.stack is not follower.stack]
        if followers:
            return
        del _followed[kind]
        if own is None:
            del kind.__call__
        else:
            kind.__call__ = own


def _told(call: Callable[..., Any], followers: list[Follower]) -> Callable[..., Any]:
    def told(self: Any, *args: Any, **kwargs: Any) -> Any:
        thread, stacks = get_ident(), []
        for follower in followers:
            if follower.thread == thread and id(self) in follower.paths:
                follower.stack.append(follower.paths[id(self)])
                stacks.append(follower.stack)
        try:
            return call(self, *args, **kwargs)
        finally:
            for stack in stacks:
                stack.pop()

    return told

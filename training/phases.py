"""The parts of a training step, named for whoever wants to measure them. Nobody listens: no cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar

Listener = Callable[[str], AbstractContextManager[None]]

_listener: ContextVar[Listener | None] = ContextVar("_listener", default=None)


def phase(name: str) -> AbstractContextManager[None]:
    """Entered and left by the code that is the phase."""
    listener = _listener.get()
    return nullcontext() if listener is None else listener(name)


@contextmanager
def heard_by(listener: Listener) -> Iterator[None]:
    """Everything within tells the listener of its phases."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)

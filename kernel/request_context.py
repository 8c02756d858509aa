"""The id of a request: its answer carries it, and each log line written on the way."""

import re
from contextvars import ContextVar
from uuid import uuid4

# What a client may send, so that its log and ours can be put side by side.
_FOREIGN = re.compile(r"[A-Za-z0-9._-]{8,64}")
_current: ContextVar[str] = ContextVar("request_id", default="-")


def request_id() -> str:
    """The id of the latest request in this thread; "-" before the first.

    It outlives its request, because Django logs a failed one when all middleware is through.
    """
    return _current.get()


def identify(sent: str) -> str:
    """Give the request that begins the id that its client sent, or else a new one."""
    _current.set(sent if _FOREIGN.fullmatch(sent) else uuid4().hex)
    return _current.get()

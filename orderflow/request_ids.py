"""The id of a request: its answer carries it, and each log line written on the way."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from uuid import uuid4

# What a client may send, so that its log and ours can be put side by side.
_FOREIGN = re.compile(r"[A-Za-z0-9._-]{8,64}")
_current: ContextVar[str] = ContextVar("request_id", default="-")


def request_id() -> str:
    """The id of the request that is being answered in this thread; "-" outside of requests."""
    return _current.get()


@contextmanager
def identified(sent: str) -> Iterator[str]:
    """Run the block under the id that the client sent, or else under a new one."""
    mark = _current.set(sent if _FOREIGN.fullmatch(sent) else uuid4().hex)
    try:
        yield _current.get()
    finally:
        _current.reset(mark)


class RequestIdFilter(logging.Filter):
    """Sets `request_id` on each log record."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = request_id()
        return True

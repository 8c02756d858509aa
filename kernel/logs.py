"""Log context: the ids that each log line carries besides its message."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from uuid import UUID

from kernel.request_context import request_id

_ids: ContextVar[Mapping[str, str]] = ContextVar("ids", default=MappingProxyType({}))


@contextmanager
def log_context(**ids: UUID) -> Iterator[None]:
    """Let the lines that are written meanwhile carry these ids as well."""
    token = _ids.set({**_ids.get(), **{name: str(value) for name, value in ids.items()}})
    try:
        yield
    finally:
        _ids.reset(token)


class IdsFilter(logging.Filter):
    """Sets the ids on each log record; what the line itself says of them goes first."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.__dict__ = {"request_id": request_id(), **_ids.get(), **record.__dict__}
        return True

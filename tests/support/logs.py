"""What the service logs, as JSON, as in production."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from logging.config import dictConfig
from typing import Any

from django.conf import settings


class Log:
    def __init__(self) -> None:
        self.stream = StringIO()

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]

    def of(self, logger: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["logger"] == logger]


@contextmanager
def logged(level: str = "INFO") -> Iterator[Log]:
    """Catch what is logged at this level or above."""
    config: dict[str, Any] = settings.LOGGING
    log = Log()
    stderr = {**config["handlers"]["stderr"], "formatter": "json", "stream": log.stream}
    root = {**config["root"], "level": level}
    dictConfig({**config, "handlers": {"stderr": stderr}, "root": root})
    try:
        yield log
    finally:
        dictConfig(config)

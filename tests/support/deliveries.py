"""What tests of deliveries look at, and how they let one die."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import pytest

from connectors.models import ErpConnection
from exports.delivery import protocol
from exports.models import ErpExport
from kernel.db import db_now


def payloads(exports: list[ErpExport]) -> dict[str, bytes | None]:
    return {export.filename: export.content for export in exports}


def reloaded(export: ErpExport) -> ErpExport:
    return ErpExport.objects.select_related("draft_order").get(id=export.id)


def kinds(export: ErpExport) -> list[str]:
    return [event.kind for event in export.events.all()]


def code(export: ErpExport) -> str | None:
    error = reloaded(export).error_json
    return error and error["code"]


def make_due() -> None:
    ErpExport.objects.filter(status="PENDING").update(next_attempt_at=db_now())
    ErpConnection.objects.update(retry_at=None)


class Crash(BaseException):
    """Passes by every handler, as a SIGKILL does."""


@contextmanager
def crash_after(step: str) -> Iterator[None]:
    """Let the delivery die at a step of the protocol."""

    def die(name: str) -> None:
        if name == step:
            raise Crash(name)

    with (
        mock.patch.object(protocol, "failpoint", autospec=True, side_effect=die),
        pytest.raises(Crash),
    ):
        yield

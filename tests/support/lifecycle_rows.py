"""Links tests to rows of the lifecycle tables, and provides the objects that these tests use.

A test names its row by a decorator: the table, the event and the sources, each of which brings
it to its target. tests/ledger/test_lifecycle_tables.py asks for a test of each row, and changes the
tables row by row to see one fail.
"""

import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock
from uuid import UUID

import pytest
from django.db import connection as database
from django.test import Client, TestCase
from rest_framework.test import APIClient

from accounts.models import User
from connectors.dropzone.session import DropzoneSession
from connectors.errors import ConnectorError
from connectors.models import DeliveryInstance, ErpConnection
from exports.acks.poller import poll
from exports.delivery import cleanup
from exports.delivery.protocol import deliver
from exports.models import ErpAck, ErpExport, ErpExportEvent
from exports.pushing.push import push_order
from kernel.db import db_now
from notifications.models import Notification, Webhook
from notifications.webhooks import create_webhook
from orders import approval
from orders.models import DraftOrder
from tests.support.admins import logged_in
from tests.support.api import client, person
from tests.support.builders import a_connection, an_approved_order, an_order, an_org

Test = TypeVar("Test", bound=Callable[..., None])
NEW = "NEW"
"""The source of an event that creates."""

_LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """A test that performs a row from `source`; None: a test that the row does not apply."""

    table: str
    event: str
    source: str | None
    test: Callable[..., None]
    arguments: Mapping[str, str] = field(default_factory=dict)


PROOFS: list[Proof] = []


def brings_about(row: str, *sources: str) -> Callable[[Test], Test]:
    """A test that brings about a row, say "orders.APPROVED", from each of some statuses.

    From several: the test runs for each, as its parameter `source`.
    """
    table, _, event = row.partition(".")

    def register(test: Test) -> Test:
        for source in sources:
            arguments = {"source": source} if len(sources) > 1 else {}
            PROOFS.append(
                Proof(table=table, event=event, source=source, test=test, arguments=arguments)
            )
        return pytest.mark.parametrize("source", sources)(test) if len(sources) > 1 else test

    return register


def refuses(row: str) -> Callable[[Test], Test]:
    """Mark a test that a row does not apply if its condition does not hold."""
    table, _, event = row.partition(".")

    def register(test: Test) -> Test:
        PROOFS.append(Proof(table=table, event=event, source=None, test=test))
        return test

    return register


@dataclass(slots=True, kw_only=True)
class Happened:
    """What became of an export, or of an order alone: each status before and after.

    `history`: the events with the person who acted; `told`: the notifications in the outbox;
    `logged`: what the lifecycle logged, once it was committed.
    """

    order: tuple[str, str]
    export: tuple[str, str] | None = None
    history: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    logged: list[str] = field(default_factory=list)


class Crash(BaseException):
    """No handler catches it, so the effect is that of a SIGKILL."""


class World:
    """An org with a dropzone and people, and an ERP that reads and answers there."""

    def __init__(self, root: Path) -> None:
        self.exports, self.acks = root / "exports", root / "acks"
        for folder in (self.exports, self.acks):
            folder.mkdir()
        config = {
            "mode": "filesystem",
            "export_path": str(self.exports),
            "ack_path": str(self.acks),
        }
        self.org = an_org("lifecycle")
        self.ann = person("ann", self.org, "Integration")
        self.connection_id = a_connection(self.org, config).id
        create_webhook(
            self.org, url="http://localhost:9/", event_types=Webhook.CHOOSABLE, actor=self.ann
        )

    @cached_property
    def api(self) -> APIClient:
        """What ann's program calls."""
        return client(self.ann, self.org)

    @cached_property
    def admin(self) -> Client:
        """The browser of root."""
        return logged_in(User.objects.create_superuser("root"))

    # What there is.
    def ready(self, **fields: Any) -> DraftOrder:
        return an_order(self.org, **fields)

    def approved(self) -> DraftOrder:
        return an_approved_order(self.org, self.ann)

    def pending(self) -> ErpExport:
        return push_order(self.approved().id, actor=self.ann)

    def failing(self) -> ErpExport:
        """A pending export of which an attempt has failed, and nothing is staged."""
        export = self.pending()
        with self.cannot("stage", "NO_SPACE"):
            self.deliver()
        return _as_it_is(export)

    def claimed(self) -> ErpExport:
        """A pending export whose worker died after it had claimed the staged file."""
        export = self.pending()
        self.dies_before("publish")
        return _as_it_is(export)

    def tidied(self) -> ErpExport:
        """A claimed export whose second attempt failed, and was cleaned up after."""
        export = self.claimed()
        with self.cannot("publish", "NO_SPACE"):
            self.deliver()
        assert self.clean_up() == 1
        return _as_it_is(export)

    def sent(self) -> ErpExport:
        export = self.pending()
        assert self.deliver() == 1
        return _as_it_is(export)

    def acked(self) -> ErpExport:
        export = self.sent()
        assert self.answer("ack", export).classification == "APPLIED"
        return _as_it_is(export)

    def refused(self) -> ErpExport:
        """A failed export: the ERP has refused it."""
        export = self.sent()
        assert self.answer("error", export).classification == "APPLIED"
        return _as_it_is(export)

    def an_order_that_is(self, status: str) -> DraftOrder:
        """An order that came to a status as orders do, before a push or after a refusal."""
        order = self.ready()
        if status == "NEEDS_REVIEW":
            self.edit(order, qty=0)
        if status in ("APPROVED", "ERROR"):
            approval.approve(order.id, actor=self.ann)
        if status == "ERROR":
            export = push_order(order.id, actor=self.ann)
            assert self.deliver() == 1
            self.answer("error", export)
        return order

    # What people, workers and the ERP do.
    def edit(self, order: DraftOrder, **lines: Any) -> None:
        with approval.editing(order.id, actor=self.ann) as edited:
            edited.lines.update(**lines)

    def deliver(self) -> int:
        """Let a worker send what waits; return how many were sent."""
        ErpExport.objects.filter(status="PENDING", next_attempt_at__isnull=False).update(
            next_attempt_at=db_now()
        )
        ErpConnection.objects.update(retry_at=None, lease_until=None)
        return deliver(self.connection_id).sent

    def clean_up(self) -> int:
        ErpConnection.objects.update(retry_at=None, lease_until=None)
        return cleanup.clean_up(minimum_age=-cleanup.MINIMUM_AGE)

    def dies_before(self, step: str) -> None:
        """Let a delivery die before an operation on the dropzone."""
        dies = mock.patch.object(DropzoneSession, step, autospec=True, side_effect=Crash)
        with dies, pytest.raises(Crash):
            self.deliver()

    def dies_after_staging(self) -> None:
        """Let a delivery leave a staging file that no export has claimed."""
        stage = DropzoneSession.stage

        def die(*args: Any) -> None:
            stage(*args)
            raise Crash

        with (
            mock.patch.object(DropzoneSession, "stage", autospec=True, side_effect=die),
            pytest.raises(Crash),
        ):
            self.deliver()

    @contextmanager
    def cannot(self, operation: str, code: str) -> Iterator[None]:
        """Let the dropzone report an error for each file."""

        def refuse(session: DropzoneSession, files: list[Any], **_: Any) -> list[ConnectorError]:
            return [ConnectorError(code) for _ in files]

        with mock.patch.object(DropzoneSession, operation, autospec=True, side_effect=refuse):
            yield

    @contextmanager
    def overtaken(self, operation: str, move: Callable[[], object]) -> Iterator[None]:
        """Let another worker act once, before an operation of this one on the dropzone."""
        original = getattr(DropzoneSession, operation)
        moves = iter([move])

        def overtake(*args: Any, **kwargs: Any) -> Any:
            done = original(*args, **kwargs)
            if other := next(moves, None):
                other()
            return done

        with mock.patch.object(DropzoneSession, operation, autospec=True, side_effect=overtake):
            yield
        assert next(moves, None) is None, "the other worker has not moved"

    def write_ack(self, kind: str, export: ErpExport, number: str = "SO-1", name: str = "") -> Path:
        """Let the ERP write an ack, `ack` or `error`."""
        said = {
            "ack": {"status": "ACKED", "erp_order_id": number},
            "error": {"status": "FAILED", "error_code": number, "message": "No such customer"},
        }
        path = self.acks / f"{kind}_{name or export.filename}"
        path.write_text(json.dumps(said[kind]))
        return path

    def answer(self, kind: str, export: ErpExport, number: str = "SO-1", name: str = "") -> ErpAck:
        """Let the ERP write an ack, and a worker read it."""
        path = self.write_ack(kind, export, number, name)
        self.poll()
        return ErpAck.objects.filter(filename=path.name).latest("seen_at", "id")

    def poll(self) -> None:
        ErpConnection.objects.update(retry_at=None, lease_until=None)
        assert not poll(self.connection_id).errors

    def erp_takes(self, export: ErpExport) -> None:
        (self.exports / export.filename).unlink()

    def restore(self) -> None:
        """Let the database be one that was restored."""
        DeliveryInstance.objects.update(database="the lost one")

    def leftovers(self) -> list[str]:
        """The staging files."""
        return [path.name for path in self.exports.iterdir() if path.suffix == ".tmp"]

    @contextmanager
    def watching(self, about: ErpExport | DraftOrder) -> Iterator[Happened]:
        """Watch what happens to an export and its order; complete when the block has ended."""
        export = about if isinstance(about, ErpExport) else None
        order_id = export.draft_order_id if export else about.id
        happened = Happened(order=("", ""), export=("", "") if export else None)
        before = _statuses(order_id, export)
        last_event = ErpExportEvent.objects.order_by("id").last()
        DraftOrder.objects.filter(id=order_id).update(updated_at=_LONG_AGO)
        Notification.objects.all().delete()
        with _logged(happened.logged), TestCase.captureOnCommitCallbacks(execute=True):
            yield happened
        after = _statuses(order_id, export)
        happened.order = (before[0], after[0])
        if export:
            happened.export = (before[1], after[1])
        events = ErpExportEvent.objects.filter(export__draft_order=order_id)
        for event in events.filter(id__gt=last_event.id if last_event else 0):
            happened.history.append(f"{event.kind} by {event.actor}" if event.actor else event.kind)
        happened.told += Notification.objects.order_by("id").values_list("event_type", flat=True)
        about.refresh_from_db()


def is_touched(order: DraftOrder) -> bool:
    """Whether an order was written since it was last watched; readers ask by this column."""
    return DraftOrder.objects.get(id=order.id).updated_at > _LONG_AGO


@contextmanager
def after_query(fragment: str, move: Callable[[], object]) -> Iterator[None]:
    """Let another writer act once, right after the first query that contains a fragment of SQL."""
    moves = iter([move])

    def watch(execute: Callable[..., Any], sql: str, *args: Any) -> Any:
        result = execute(sql, *args)
        if fragment in sql and (other := next(moves, None)):
            other()
        return result

    with database.execute_wrapper(watch):
        yield
    assert next(moves, None) is None, "the query was not seen"


def _as_it_is(export: ErpExport) -> ErpExport:
    return ErpExport.objects.select_related("draft_order").get(id=export.id)


def _statuses(order_id: UUID, export: ErpExport | None) -> tuple[str, str]:
    order = DraftOrder.objects.values_list("status", flat=True).get(id=order_id)
    if export is None:
        return order, ""
    return order, ErpExport.objects.values_list("status", flat=True).get(id=export.id)


@contextmanager
def _logged(lines: list[str]) -> Iterator[None]:
    """Catch what the lifecycle says in the log, without the ids of exports and errors."""
    logger = logging.getLogger("exports.lifecycle")

    class Catch(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(re.sub(r"^export \S+: (\w+)( \[.*\])?$", r"\1", record.getMessage()))

    handler, level = Catch(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)

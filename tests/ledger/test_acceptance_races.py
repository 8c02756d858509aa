"""An acceptance is recorded while somebody else changes the same order: one of them waits."""

import threading
import time
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
from django.db import connection as database

from accounts.models import Org, User
from connectors.models import ErpConnection
from exports.acks import application, recording, review
from exports.acks.poller import poll
from exports.models import ErpAck, ErpExport
from exports.pushing import push
from exports.pushing.push import push_order, retry_order
from kernel.errors import RuleViolation
from orders import approval
from tests.support.acks import accept, refuse, some_sent, state
from tests.support.dropzones import Dropzone
from tests.support.invariants import assert_order_fits

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(database.vendor == "sqlite", reason="SQLite has one writer at a time"),
]


@pytest.fixture
def refused(dropzone: Dropzone, erp: ErpConnection, org: Org, ann: User) -> ErpExport:
    """An export that the ERP has refused."""
    (export,) = some_sent(erp, org, ann, 1)
    refuse(dropzone, export)
    poll(erp.id)
    return export


class Rival(threading.Thread):
    """An action of another person. When `begin` returns, it is done or waits for a lock."""

    def __init__(self, move: Callable[[], object]) -> None:
        super().__init__()
        self._move = move
        self.outcome = "did not end"

    def run(self) -> None:
        try:
            self._move()
            self.outcome = "done"
        except RuleViolation as e:
            self.outcome = e.code
        finally:
            database.close()

    def begin(self) -> None:
        self.start()
        ends = time.monotonic() + 20
        while self.is_alive() and time.monotonic() < ends:
            with database.cursor() as cursor:
                cursor.execute("SELECT 1 FROM pg_locks WHERE NOT granted")
                if cursor.fetchone():
                    return
            self.join(0.01)

    def end(self) -> str:
        self.join(20)
        return self.outcome


def amid(module: Any, name: str, rival: Rival) -> Any:
    """Let the rival make its move right before a function is called for the first time."""
    original = getattr(module, name)

    def preceded(*args: Any, **kwargs: Any) -> Any:
        if rival.ident is None:
            rival.begin()
        return original(*args, **kwargs)

    return mock.patch.object(module, name, side_effect=preceded)


def test_a_retry_waits_for_the_ack_that_is_being_recorded(
    dropzone: Dropzone, erp: ErpConnection, refused: ErpExport, ann: User
) -> None:
    accept(dropzone, refused)
    rival = Rival(lambda: retry_order(refused.draft_order_id, actor=ann))
    with amid(recording, "classify", rival):
        poll(erp.id)
    assert rival.end() == "OPEN_CONFLICT"
    assert state(refused) == ("FAILED", "ERROR")
    assert list(ErpExport.objects.all()) == [refused]


def test_an_ack_waits_for_the_retry_that_has_begun(
    dropzone: Dropzone, erp: ErpConnection, refused: ErpExport, ann: User
) -> None:
    accept(dropzone, refused)
    rival = Rival(lambda: poll(erp.id))
    with amid(push, "_freeze", rival):
        retry_order(refused.draft_order_id, actor=ann)
    assert rival.end() == "done"
    assert ErpAck.objects.get(is_accepted=True).classification == "LATE"
    assert state(refused) == ("FAILED", "PUSHING")


def edit(export: ErpExport, actor: User) -> None:
    with approval.editing(export.draft_order_id, actor=actor) as order:
        order.lines.update(qty=7)


MOVES: dict[str, Callable[[ErpExport, User], object]] = {
    "edit": edit,
    "approve": lambda e, ann: approval.approve(e.draft_order_id, actor=ann),
    "reject": lambda e, ann: approval.reject(e.draft_order_id, actor=ann),
    "push": lambda e, ann: push_order(e.draft_order_id, actor=ann),
    "retry": lambda e, ann: retry_order(e.draft_order_id, actor=ann),
}


@pytest.mark.parametrize("move", MOVES)
def test_a_move_during_an_acceptance_finds_the_order_pushed(
    dropzone: Dropzone, erp: ErpConnection, refused: ErpExport, ann: User, move: str
) -> None:
    edit(refused, ann)
    if move in ("push", "retry", "reject"):
        approval.approve(refused.draft_order_id, actor=ann)
    accept(dropzone, refused)
    poll(erp.id)
    ack = ErpAck.objects.get(classification="CONFLICT")
    rival = Rival(lambda: MOVES[move](refused, ann))
    with amid(application, "apply", rival):
        review.accept(ack.id, actor=ann, reason="The ERP has it")
    expected = {
        "edit": "NOT_EDITABLE",
        "approve": "NOT_READY",
        "reject": "NOT_REJECTABLE",
        "push": "LIVE_EXPORT",
        "retry": "NOT_FAILED",
    }
    assert rival.end() == expected[move]
    assert state(refused) == ("ACKED", "PUSHED")
    refused.draft_order.refresh_from_db()
    assert_order_fits(refused.draft_order)

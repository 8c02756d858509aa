"""Concurrent actions of several people on the same orders export each order once.

One person's click is stopped before one of its statements or commits, another one's is done to its
end, or until it waits for a lock of the first; then the first goes on. `make explore` looks for
new interleavings.
"""

import itertools
import logging
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from types import ModuleType
from typing import Any
from unittest import mock
from uuid import UUID

import pytest
from django.db import DatabaseError, connections
from django.db import connection as database
from django.db.models import Q
from hypothesis import given, note
from hypothesis import settings as Settings
from hypothesis import strategies as st

from accounts.audit import Action
from accounts.models import AuditEntry
from exports.acks import recording
from exports.lifecycle import allows
from exports.models import BatchItem, ErpAck, ErpExport
from exports.pushing import push
from orders.lifecycle import IllegalChange
from orders.models import DraftOrder
from tests.support.invariants import assert_order_fits
from tests.support.people import Click, Move, Office, content_of_payload, is_refused, succeed

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(database.vendor == "sqlite", reason="SQLite has one writer at a time"),
]

SENT = ("approve_order", "push_order", "deliver", "erp_picks_up")
REFUSED = (*SENT, "erp_refuses", "poll")
RETRIED = (*REFUSED, "retry_order", "deliver")
# Where an example begins.
SCENES: dict[str, tuple[str | Move, ...]] = {
    "ready": (),
    "approved": ("approve_order",),
    "batch to approve": ("batch_approve",),
    "batch to push": ("approve_order", "batch_push"),
    "pending": ("approve_order", "push_order"),
    "staged": ("approve_order", "push_order", "die_after_claiming"),
    "published": ("approve_order", "push_order", "die_after_publishing", "erp_picks_up"),
    "sent": SENT,
    "two answers": (*SENT, "erp_accepts", "erp_refuses"),
    "mistyped": (*SENT, "erp_mistypes", "poll"),
    "acknowledged": (*SENT, "erp_accepts", "poll"),
    "another number": (*SENT, "erp_accepts", "poll", Move("erp_accepts", who=1), "poll"),
    "refused": REFUSED,
    "refused, then accepted": (*REFUSED, "erp_accepts"),
    "refused and edited": (*REFUSED, "edit_order", "approve_order"),
    "conflict": (*REFUSED, "erp_accepts", "poll"),
    "late": (*RETRIED, Move("erp_accepts", pick=1)),
    "late and refused": (*RETRIED, Move("erp_accepts", pick=1), "erp_refuses"),
    "batch to retry": (*REFUSED, "batch_retry"),
}


class Person:
    """A thread with a database connection of its own."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._pid = self._thread.submit(self._connect).result()
        self._click: Future[Any] = Future()

    def _connect(self) -> int:
        with database.cursor() as cursor:
            cursor.execute("SET deadlock_timeout = '50ms'")
            cursor.execute("SELECT pg_backend_pid()")
            return int(cursor.fetchone()[0])

    def leave(self) -> None:
        self._thread.submit(connections.close_all).result()
        self._thread.shutdown()

    def click(self, click: Click, step: Callable[[], object]) -> None:
        """Begin to do it; call `step` before each statement and each commit."""

        def in_steps() -> object:
            with stepping(step):
                return click()

        self._click = self._thread.submit(in_steps)

    def comes_to_rest(self, is_stopped: threading.Event | None = None) -> None:
        """Wait until it is done, waits for somebody else's lock, or is stopped."""
        with database.cursor() as cursor:
            while not (is_stopped and is_stopped.is_set()):
                wait([self._click], 0.002)
                if self._click.done():
                    return
                cursor.execute("SELECT 1 FROM pg_locks WHERE pid = %s AND NOT granted", [self._pid])
                if cursor.fetchone():
                    return

    def end(self) -> str:
        """How it ended. Raises what no click may raise."""
        try:
            return repr(self._click.result(30))
        except BaseException as e:
            if not is_refused(e):
                raise
            return repr(e)


def interleave(people: Sequence[Person], clicks: Sequence[Click], at: int) -> list[str]:
    """Stop the first click before its step number `at`, and let the second be done meanwhile.

    Where one has to wait for the other, it goes on when that has come to rest: so the same happens
    each time.
    """
    one, other = people
    is_stopped, one_goes_on, other_goes_on = (threading.Event() for _ in range(3))
    steps = itertools.count()

    def stop() -> None:
        if next(steps) == at:
            is_stopped.set()
            one_goes_on.wait(20)

    def give_way() -> None:
        if one_goes_on.is_set():
            other_goes_on.wait(20)

    one.click(clicks[0], stop)
    one.comes_to_rest(is_stopped)
    other.click(clicks[1], give_way)
    other.comes_to_rest()
    one_goes_on.set()
    one.comes_to_rest()
    other_goes_on.set()
    return [person.end() for person in people]


def stepping(step: Callable[[], object]) -> ExitStack:
    """Call `step` before each statement and each commit of this thread."""
    commit = database.commit

    def query(execute: Any, sql: str, *args: Any) -> Any:
        if not sql.startswith(("SAVEPOINT", "RELEASE", "ROLLBACK")):
            step()
        return execute(sql, *args)

    def commits() -> None:
        step()
        commit()

    stack = ExitStack()
    stack.enter_context(database.execute_wrapper(query))
    stack.enter_context(mock.patch.object(database, "commit", commits))
    return stack


def count_steps(office: Office, click: Click) -> int:
    """How many steps a click has, seen in a dry run."""
    steps = itertools.count()
    try:
        with office.tried(), stepping(lambda: next(steps)):
            click()
    except BaseException as e:
        if not is_refused(e):
            raise
    return next(steps)


@pytest.fixture
def people() -> Iterator[list[Person]]:
    # Thousands of faults would be thousands of lines.
    logging.disable()
    people = [Person(), Person()]
    yield people
    for person in people:
        person.leave()
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("examples", [25, pytest.param(300, marks=pytest.mark.long)])
def test_each_order_is_exported_once(people: list[Person], examples: int) -> None:
    Settings(max_examples=examples)(given(st.data(), st.just(people))(work_together))()


def work_together(data: st.DataObject, people: list[Person]) -> None:
    office = Office()
    with office.opened():
        scene = data.draw(st.sampled_from(list(SCENES)), label="scene")
        succeed(office, *SCENES[scene])
        check(office)
        for _ in range(data.draw(st.integers(1, 3), label="rounds")):
            moves = st.sampled_from(office.offered())
            first = data.draw(moves, label="one does")
            percent = data.draw(st.integers(0, 99), label="until percent")
            second = data.draw(moves, label="meanwhile another does")
            note(f"    {meet(office, people, first, second, percent)}")


def meet(
    office: Office, people: list[Person], first: Move, second: Move, percent: int
) -> list[str]:
    """Stop the first move at so many percent of its steps, for the second one; then look."""
    office.time_passes()
    clicks = [office.prepare(first), office.prepare(second)]
    # What comes after a commit is no part of a dry run.
    at = (count_steps(office, clicks[0]) + 3) * percent // 100
    ended = interleave(people, clicks, at)
    check(office)
    return ended


# The table of changes notices some of it before anybody else does.
NOTICED = (AssertionError, DatabaseError, IllegalChange)


def unlocked_orders(order_ids: Collection[UUID]) -> dict[UUID, str]:
    return dict(DraftOrder.objects.filter(id__in=order_ids).values_list("id", "status"))


def unlocked_exports(ids: Collection[UUID]) -> dict[UUID, ErpExport]:
    return ErpExport.objects.in_bulk(ids)


@pytest.mark.parametrize(
    ("module", "rule", "without", "scene", "first", "second"),
    [
        (push, "lock_orders", unlocked_orders, "approved", "push_order", "edit_order"),
        (
            recording,
            "lock_exports",
            unlocked_exports,
            "refused, then accepted",
            "poll",
            "retry_order",
        ),
        (push, "open_conflicts", lambda ids: {}, "conflict", "retry_order", "deliver"),
    ],
)
def test_a_missing_rule_is_noticed(
    people: list[Person],
    module: ModuleType,
    rule: str,
    without: Callable[..., object],
    scene: str,
    first: str,
    second: str,
) -> None:
    def meets(percent: int) -> None:
        office = Office()
        with office.opened():
            succeed(office, *SCENES[scene])
            meet(office, people, Move(first), Move(second, who=1), percent)

    with mock.patch.object(module, rule, without), pytest.raises(NOTICED):
        all(meets(percent) is None for percent in range(0, 100, 5))


def check(office: Office) -> None:
    for order in DraftOrder.objects.filter(org=office.org):
        assert_order_fits(order)
        for export in order.exports.all():
            check_export(office, export)
    items = BatchItem.objects.filter(batch__org=office.org)
    assert not items.filter(outcome="FAILED").exists(), "a defect failed an order of a batch"
    assert not items.filter(outcome="WAITING").exclude(batch__finished_at=None).exists()
    check_audit(office)


def check_export(office: Office, export: ErpExport) -> None:
    approved = office.shown.get((export.draft_order_id, export.approved_hash))
    assert approved == content_of_payload(export.payload), "other content than was approved"
    events = list(export.events.all())
    assert (events[0].kind, events[-1].status) == ("CREATED", export.status)
    for earlier, later in itertools.pairwise(events):
        assert allows(later.kind, earlier.status, later.status), events
    kinds = Counter(event.kind for event in events)
    assert kinds["STAGED"] == (export.staged_path is not None)
    assert kinds["SENT"] <= 1
    assert not export.error_json or export.error_json["code"] != "INTERNAL"
    applied = list(
        export.acks.filter(classification="APPLIED").values_list("is_accepted", flat=True)
    )
    possible = {"PENDING": [[]], "SENT": [[]], "ACKED": [[True]], "FAILED": [[], [False]]}
    assert applied in possible[export.status], "an ack counts, but not in its export"
    if export.error_json and export.error_json["code"] == "ERP_REFUSED":
        assert applied == [False]
    if export.status in ("PENDING", "SENT"):
        check_conflicts(export)


def check_conflicts(export: ErpExport) -> None:
    """An order with an open conflict is not exported again."""
    older = ErpAck.objects.filter(ErpAck.OPEN, export__draft_order=export.draft_order_id)
    older = older.exclude(export=export)
    # A person may recognise later that an old ack is late.
    came_before = Q(
        classification="LATE", is_accepted=True, decided_by=None, seen_at__lt=export.created_at
    )
    assert not older.filter(Q(classification="CONFLICT") | came_before), "exported amid a conflict"


def check_audit(office: Office) -> None:
    """What each person did is in the audit log, once."""
    actions = {
        "approve": Action.ORDER_APPROVED,
        "push": Action.ORDER_PUSHED,
        "retry": Action.ORDER_RETRIED,
    }
    expected = Counter(office.audited)
    done = BatchItem.objects.filter(batch__org=office.org, outcome="DONE")
    expected.update(
        (item.batch.requested_by_id, actions[item.batch.action].value)
        for item in done.select_related("batch")
    )
    entries = AuditEntry.objects.filter(org=office.org).exclude(actor=None)
    # The ERP does it; a person only lets it count.
    entries = entries.exclude(action=Action.ORDER_ACCEPTED_LATE)
    assert Counter(entries.values_list("actor_id", "action")) == expected

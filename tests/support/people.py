"""The generator of interleavings: people, a worker and an ERP act on the same few orders.

A `Move` is one thing that one of them does. `prepare()` reads what a person sees on the page and
returns the click; so another move may come between the look and the click, or amid the click.
"""

import itertools
import json
import posixpath
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any, TypeAlias
from unittest import mock
from uuid import UUID

from django.conf import settings
from django.db import transaction

from accounts.audit import Action
from accounts.models import User
from connectors.dropzone import connector
from connectors.dropzone.memory import MemoryFolder
from connectors.models import ErpConnection
from exports.acks import review
from exports.acks.poller import poll
from exports.delivery import protocol
from exports.models import Batch, ErpAck, ErpExport
from exports.pushing import batch_runs, batches
from exports.pushing.push import cancel_export, deliver_again, push_order, retry_order
from exports.resolution import manual
from kernel.db import db_now
from kernel.dry_run import dry_run
from kernel.errors import RuleViolation
from orders import approval
from orders.content import content_hashes
from orders.models import Customer, DraftOrder, DraftOrderLine
from tests.support.builders import a_connection, a_user, an_order, an_org

ROOT = settings.DROPZONE_ROOTS[0]
EXPORTS, ACKS = f"{ROOT}/people/exports", f"{ROOT}/people/acks"
# What the moves change of an order: quantity and customer number.
Content: TypeAlias = tuple[Decimal, str]
Status = DraftOrder.Status


class WorkerDied(BaseException):
    """The process of the worker has died."""


@dataclass(frozen=True, slots=True)
class Move:
    """`name` is that of a method of Office; `order` and `pick` choose what it is about.

    `pick` counts the exports of the order, or the acks to review, the newest first.
    """

    name: str
    who: int = 0
    order: int = 0
    pick: int = 0


# It returns the actions that the audit log must have for it. Raises RuleViolation or WorkerDied.
Click: TypeAlias = Callable[[], tuple[Action, ...]]


class Office:
    numbers = itertools.count(1)

    def __init__(self) -> None:
        number = next(self.numbers)
        self.org = an_org(f"office-{number}")
        self.people = [a_user(self.org, f"{name}-{number}") for name in ("ann", "ben")]
        # The person who starts a batch must still have the permission when it runs.
        User.objects.filter(id__in=[p.id for p in self.people]).update(is_superuser=True)
        for person in self.people:
            person.refresh_from_db()
        self.zone = MemoryFolder(EXPORTS, ACKS)
        config = {"mode": "filesystem", "export_path": EXPORTS, "ack_path": ACKS}
        self.erp = a_connection(self.org, config)
        # Ids in one order: rows are locked by them.
        self.orders = [
            an_order(self.org, f"PO-{n}", id=UUID(int=number << 64 | n)).id for n in range(2)
        ]
        # What approvers were shown, by order and hash.
        self.shown: dict[tuple[UUID, str], Content] = {}
        # Who did what, as the audit log must have it.
        self.audited: list[tuple[int, str]] = []
        self._new = itertools.count(1)
        self._worker = threading.local()

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Let this office's dropzone be the one that connections lead to."""
        with (
            mock.patch.object(connector, "_open_folder", return_value=self.zone),
            mock.patch.object(protocol, "failpoint", self._failpoint),
        ):
            yield

    def prepare(self, move: Move) -> Click:
        click: Click = getattr(self, move.name)(move)
        return partial(self._clicked, click, self.people[move.who])

    def _clicked(self, click: Click, person: User) -> tuple[Action, ...]:
        actions = click()
        self.audited.extend((person.pk, action.value) for action in actions)
        return actions

    @contextmanager
    def tried(self) -> Iterator[None]:
        """Roll back everything that the block changes."""
        files, folders = dict(self.zone.files), dict(self.zone.folders)
        audited = list(self.audited)
        try:
            with dry_run():
                yield
        finally:
            self.zone.files, self.zone.folders, self.audited = files, folders, audited

    def time_passes(self) -> None:
        """Let leases expire and retries become due."""
        ErpConnection.objects.filter(id=self.erp.id).update(lease_until=None, retry_at=None)
        Batch.objects.filter(org=self.org, finished_at=None).update(lease_until=None)
        waiting = ErpExport.objects.filter(org=self.org, status="PENDING")
        waiting.exclude(next_attempt_at=None).update(next_attempt_at=db_now())

    def offered(self) -> list[Move]:
        """The moves that the pages offer now, and those of the worker and the ERP."""
        moves = ["correct_customer", "batch_approve", "batch_push", "batch_retry", "deliver"]
        if any(posixpath.dirname(path) == ACKS for path in self.zone.files):
            moves.append("poll")
        if Batch.objects.filter(org=self.org, finished_at=None).exists():
            moves += ["run_batch", "cancel_batch"]
        if any(path.startswith(EXPORTS) for path in self.zone.files):
            moves.append("erp_picks_up")
        offered = [Move(name) for name in moves]
        for number, order in enumerate(self._orders()):
            offered += [Move(name, order=number) for name in _offered_for(order)]
            for pick, export in enumerate(_exports(order.id)):
                offered += [Move(n, order=number, pick=pick) for n in _offered_about(export)]
        for pick, ack in enumerate(self._open_acks()):
            names = ["dismiss_ack"]
            is_unknown = ack.classification == ErpAck.Classification.UNMATCHED
            names.append("assign_ack" if is_unknown else "accept_ack")
            offered += [Move(name, pick=pick) for name in names]
        return [Move(m.name, who, m.order, m.pick) for m in offered for who in (0, 1)]

    # Orders.
    def edit_order(self, move: Move) -> Click:
        key, actor = self.orders[move.order], self.people[move.who]

        def click() -> tuple[Action, ...]:
            with approval.editing(key, actor=actor) as order:
                was_approved = order.approved_at is not None
                order.lines.update(qty=next(self._new))
            return (Action.APPROVAL_WITHDRAWN,) * was_approved

        return click

    def correct_customer(self, move: Move) -> Click:
        """As the admin's page of the customer does."""
        customer = Customer.objects.get(org=self.org)

        def click() -> tuple[Action, ...]:
            with transaction.atomic():
                customer.erp_customer_number = f"C-{next(self._new)}"
                customer.save(update_fields=["erp_customer_number"])
                approval.customer_changed(customer)
            return ()

        return click

    def approve_order(self, move: Move) -> Click:
        key, actor = self.orders[move.order], self.people[move.who]
        seen = self._show([key])[key]

        def click() -> tuple[Action, ...]:
            approval.approve(key, actor=actor, expected_sha256=seen)
            return (Action.ORDER_APPROVED,)

        return click

    def reject_order(self, move: Move) -> Click:
        return self._about_order(move, approval.reject, Action.ORDER_REJECTED)

    def push_order(self, move: Move) -> Click:
        return self._about_order(move, push_order, Action.ORDER_PUSHED)

    def retry_order(self, move: Move) -> Click:
        return self._about_order(move, retry_order, Action.ORDER_RETRIED)

    def _about_order(self, move: Move, service: Callable[..., object], action: Action) -> Click:
        key, actor = self.orders[move.order], self.people[move.who]

        def click() -> tuple[Action, ...]:
            service(key, actor=actor)
            return (action,)

        return click

    # Exports.
    def cancel_export(self, move: Move) -> Click:
        return self._about_export(move, cancel_export, Action.EXPORT_CANCELLED)

    def deliver_again(self, move: Move) -> Click:
        return self._about_export(move, deliver_again, Action.EXPORT_REQUESTED)

    def resolve_as_delivered(self, move: Move) -> Click:
        return self._resolve(move, manual.Resolution.DELIVERED)

    def resolve_as_not_delivered(self, move: Move) -> Click:
        return self._resolve(move, manual.Resolution.NOT_DELIVERED)

    def give_up(self, move: Move) -> Click:
        return self._resolve(move, manual.Resolution.GIVEN_UP)

    def give_up_and_push_again(self, move: Move) -> Click:
        return self._resolve(move, manual.Resolution.GIVEN_UP, push_again=True)

    def _resolve(
        self, move: Move, outcome: manual.Resolution, *, push_again: bool = False
    ) -> Click:
        service = partial(manual.resolve, outcome=outcome, reason="Asked", push_again=push_again)
        pushed = (Action.ORDER_RETRIED,) * push_again
        return self._about_export(move, service, Action.EXPORT_RESOLVED, *pushed)

    def _about_export(self, move: Move, service: Callable[..., object], *actions: Action) -> Click:
        export, actor = self._export(move), self.people[move.who]

        def click() -> tuple[Action, ...]:
            service(export.id, actor=actor)
            return actions

        return click

    # Batches.
    def batch_approve(self, move: Move) -> Click:
        return self._batch(move, "approve")

    def batch_push(self, move: Move) -> Click:
        return self._batch(move, "push")

    def batch_retry(self, move: Move) -> Click:
        return self._batch(move, "retry")

    def _batch(self, move: Move, action: str) -> Click:
        orders, actor = DraftOrder.objects.filter(id__in=self.orders), self.people[move.who]
        seen = self._show(self.orders)

        def click() -> tuple[Action, ...]:
            batches.create_batch(self.org, action=action, orders=orders, actor=actor, seen=seen)
            return (Action.BATCH_CREATED,)

        return click

    def run_batch(self, move: Move) -> Click:
        return self._work(partial(batch_runs.run, self._batch_begun().id))

    def cancel_batch(self, move: Move) -> Click:
        batch, actor = self._batch_begun(), self.people[move.who]

        def click() -> tuple[Action, ...]:
            batches.cancel(batch.id, actor=actor)
            return (Action.BATCH_CANCELLED,)

        return click

    # Acks.
    def accept_ack(self, move: Move) -> Click:
        return self._about_ack(move, review.accept, Action.ACK_ACCEPTED)

    def dismiss_ack(self, move: Move) -> Click:
        return self._about_ack(move, review.dismiss, Action.ACK_DISMISSED)

    def assign_ack(self, move: Move) -> Click:
        """To the newest export of the first order, which is in every scene with acks."""
        export = _exports(self.orders[0])[0]
        return self._about_ack(
            move, partial(review.assign, export_id=export.id), Action.ACK_ASSIGNED
        )

    def _about_ack(self, move: Move, service: Callable[..., object], action: Action) -> Click:
        ack, actor = self._open_acks()[move.pick], self.people[move.who]

        def click() -> tuple[Action, ...]:
            service(ack.id, actor=actor, reason="Asked")
            return (action,)

        return click

    # The worker.
    def deliver(self, move: Move) -> Click:
        def deliver() -> None:
            assert "INTERNAL" not in protocol.deliver(self.erp.id).errors

        return self._work(deliver)

    def die_after_claiming(self, move: Move) -> Click:
        return self._die_at("claimed")

    def die_after_publishing(self, move: Move) -> Click:
        return self._die_at("published")

    def _die_at(self, step: str) -> Click:
        def deliver() -> None:
            self._worker.dies_at = step
            try:
                protocol.deliver(self.erp.id)
            finally:
                self._worker.dies_at = None

        return self._work(deliver)

    def _failpoint(self, step: str) -> None:
        if getattr(self._worker, "dies_at", None) == step:
            raise WorkerDied

    def poll(self, move: Move) -> Click:
        def look() -> None:
            assert not poll(self.erp.id).errors

        return self._work(look)

    def _work(self, task: Callable[[], object]) -> Click:
        def click() -> tuple[Action, ...]:
            task()
            return ()

        return click

    # The ERP.
    def erp_accepts(self, move: Move) -> Click:
        answer = {"status": "ACKED", "erp_order_id": f"SO-{move.who}"}
        return self._erp_writes(move, "ack_{}", answer)

    def erp_refuses(self, move: Move) -> Click:
        return self._erp_writes(move, "error_{}", {"status": "FAILED", "message": "No"})

    def erp_mistypes(self, move: Move) -> Click:
        """It accepts, in a file whose name no export has."""
        name = f"ack_sales_order_{next(self._new)}.json"
        return self._erp_writes(move, name, {"status": "ACKED", "erp_order_id": "SO-0"})

    def _erp_writes(self, move: Move, name: str, answer: dict[str, str]) -> Click:
        export = self._export(move)
        path = f"{ACKS}/{name.format(export.filename)}"

        def write() -> None:
            self.zone.files[path] = json.dumps(answer).encode()

        return self._work(write)

    def erp_picks_up(self, move: Move) -> Click:
        def take() -> None:
            for path in [p for p in self.zone.files if p.startswith(EXPORTS) and _is_sent(p)]:
                del self.zone.files[path]

        return self._work(take)

    # What they look at.
    def _show(self, order_ids: list[UUID]) -> dict[UUID, str]:
        hashes = content_hashes(order_ids)
        for key, seen in hashes.items():
            (line,) = DraftOrderLine.objects.filter(order=key).select_related("order__customer")
            assert line.order.customer
            content = (line.qty, line.order.customer.erp_customer_number)
            self.shown[key, seen] = content
        return hashes

    def _orders(self) -> list[DraftOrder]:
        found = DraftOrder.objects.in_bulk(self.orders)
        return [found[key] for key in self.orders]

    def _export(self, move: Move) -> ErpExport:
        return _exports(self.orders[move.order])[move.pick]

    def _batch_begun(self) -> Batch:
        return Batch.objects.filter(org=self.org, finished_at=None)[0]

    def _open_acks(self) -> list[ErpAck]:
        return list(ErpAck.objects.filter(ErpAck.OPEN, org=self.org).order_by("-seen_at", "-id"))


def succeed(office: Office, *names: str | Move) -> None:
    """Let things be done one after another, each by the first person with the first order."""
    for name in names:
        move = Move(name) if isinstance(name, str) else name
        office.time_passes()
        with suppress(WorkerDied):
            office.prepare(move)()


def _offered_for(order: DraftOrder) -> Iterator[str]:
    if order.status in DraftOrder.EDITABLE:
        yield "edit_order"
        yield "approve_order"
    if order.status in (Status.NEEDS_REVIEW, Status.READY, Status.APPROVED):
        yield "reject_order"
    if order.status == Status.APPROVED:
        yield "push_order"
    if order.status in (Status.ERROR, Status.APPROVED):
        yield "retry_order"


def _offered_about(export: ErpExport) -> Iterator[str]:
    if export.status == ErpExport.Status.PENDING:
        yield from ("deliver_again", "die_after_claiming", "die_after_publishing")
        if export.staged_path is None:
            yield "cancel_export"
        else:
            yield from ("resolve_as_delivered", "resolve_as_not_delivered")
    if export.status == ErpExport.Status.SENT:
        yield from ("give_up", "give_up_and_push_again")
    if export.sent_at or export.staged_path:
        yield from ("erp_accepts", "erp_refuses", "erp_mistypes")


def _exports(order_id: UUID) -> list[ErpExport]:
    exports = ErpExport.objects.filter(draft_order=order_id).defer("payload")
    return list(exports.order_by("-created_at", "-id"))


def _is_sent(path: str) -> bool:
    return path.endswith(".json")


def is_refused(error: BaseException) -> bool:
    """Whether a click may raise this error."""
    return isinstance(error, RuleViolation | WorkerDied)


def content_of_payload(payload: Any) -> Content:
    """The same of an export."""
    document = json.loads(bytes(payload), parse_float=Decimal)
    (line,) = document["lines"]
    return Decimal(line["qty"]), document["customer"]["erp_customer_number"]

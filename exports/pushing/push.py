"""The rules of pushing: which orders can be pushed or retried, which exports cancelled."""

from collections.abc import Callable, Collection
from uuid import UUID

from django.db import transaction
from django.db.models import Prefetch
from django.utils.translation import gettext as _

from accounts import audit
from accounts.audit import Action, Change
from accounts.models import User
from connectors import circuit_breaker
from connectors.errors import ConnectorError
from connectors.models import ErpConnection
from connectors.port import export_storage_key
from exports import lifecycle
from exports.acks.review import open_conflicts
from exports.delivery.dispatch import wake_after_commit
from exports.lifecycle import Event
from exports.models import ErpExport
from exports.pushing.rendering import render_order, with_content
from kernel.db import db_now, retried
from kernel.errors import RuleViolation
from orders.lifecycle import Event as OrderEvent
from orders.lifecycle import lock_orders, may_happen
from orders.models import DraftOrder

OrderStatus = DraftOrder.Status
Status = ErpExport.Status


def push_order(order_id: UUID, *, actor: User) -> ErpExport:
    """Start the export of an approved order and return it.

    Raises RuleViolation: LIVE_EXPORT, NOT_APPROVED, CHANGED_SINCE_APPROVAL, NO_CONNECTION,
    NOT_EXPORTABLE, OPEN_CONFLICT.
    """
    return _made(push_orders([order_id], actor=actor)[order_id])


def push_orders(
    order_ids: Collection[UUID], *, actor: User
) -> dict[UUID, ErpExport | RuleViolation]:
    """Push orders in one transaction; return for each its export, or why it has none."""
    return _export(order_ids, _check_push, OrderEvent.PUSHED, Action.ORDER_PUSHED, actor=actor)


def retry_order(order_id: UUID, *, actor: User) -> ErpExport:
    """Export an order again whose latest export failed: new row, new file name, same content.

    Raises RuleViolation: NOT_FAILED, and what push_order raises.
    """
    return _made(retry_orders([order_id], actor=actor)[order_id])


def retry_orders(
    order_ids: Collection[UUID], *, actor: User
) -> dict[UUID, ErpExport | RuleViolation]:
    """Retry orders in one transaction; return for each its new export, or why it has none."""
    return _export(order_ids, _check_retry, OrderEvent.RETRIED, Action.ORDER_RETRIED, actor=actor)


@retried
def cancel_export(export_id: UUID, *, actor: User, reason: str = "") -> None:
    """Take back an export of which nothing was staged; its order is approved again.

    Raises RuleViolation (NOT_CANCELLABLE).
    """
    error = ConnectorError("CANCELLED")
    with transaction.atomic():
        if not lifecycle.apply(
            Event.CANCELLED,
            [export_id],
            actor=actor,
            details={export_id: {"reason": reason}},
            error_json=error.as_json(),
        ):
            raise RuleViolation(
                "NOT_CANCELLABLE", "The export is on its way or finished: it cannot be cancelled."
            )
        audit.record(
            Action.EXPORT_CANCELLED,
            _named(export_id),
            actor=actor,
            before={"status": Status.PENDING},
            after={"status": Status.FAILED, "reason": reason},
        )


@retried
def deliver_again(export_id: UUID, *, actor: User) -> None:
    """Try a waiting export again now, for instance after a person has removed what was in its way.

    Safe at any time: what was claimed only rolls forward. Raises RuleViolation (NOT_WAITING).
    """
    with transaction.atomic():
        if not lifecycle.apply(Event.REQUESTED, [export_id], actor=actor):
            raise RuleViolation(
                "NOT_WAITING",
                _("The export is not waiting. Only a pending export can be tried again."),
            )
        export = _named(export_id)
        audit.record(Action.EXPORT_REQUESTED, export, actor=actor)
        wake_after_commit(export.erp_connection_id)


@retried
def deliver_waiting(connection_id: UUID, *, actor: User) -> int:
    """Try what waits on a connection again now; return how many exports had been put off.

    Those that need a decision go on waiting for it. Raises RuleViolation (PAUSED).
    """
    with transaction.atomic():
        if not circuit_breaker.retry_now(connection_id):
            raise RuleViolation(
                "PAUSED", _("The connection is paused. Waiting exports are sent when it resumes.")
            )
        put_off = ErpExport.objects.filter(
            erp_connection=connection_id, status=Status.PENDING, next_attempt_at__gt=db_now()
        )
        moved = lifecycle.apply(
            Event.EXPEDITED, list(put_off.values_list("id", flat=True)), actor=actor
        )
        connection = ErpConnection.objects.select_related("org").get(id=connection_id)
        audit.record(
            Action.CONNECTION_REQUESTED, connection, actor=actor, after={"exports": len(moved)}
        )
        wake_after_commit(connection_id)
    return len(moved)


def _named(export_id: UUID) -> ErpExport:
    """What names an export, and what it belongs to."""
    return ErpExport.objects.only("org", "filename", "draft_order", "erp_connection").get(
        id=export_id
    )


def _made(outcome: ErpExport | RuleViolation) -> ErpExport:
    if isinstance(outcome, RuleViolation):
        raise outcome
    return outcome


def _latest(order: DraftOrder) -> ErpExport | None:
    """The live export of an order that `_lock` has loaded, else its newest."""
    return next(iter(order.exports.all()), None)


def _check_push(order: DraftOrder) -> None:
    latest = _latest(order)
    if latest and latest.status in ErpExport.LIVE:
        raise RuleViolation(
            "LIVE_EXPORT",
            f"Order {order} has an export already: {latest.filename}, "
            f"{latest.get_status_display()}.",
            export=latest.id,
        )
    if not may_happen(OrderEvent.PUSHED, order.status):
        raise RuleViolation(
            "NOT_APPROVED",
            f"Order {order} has the status “{order.get_status_display()}”; "
            "only approved orders are pushed.",
        )


def _check_retry(order: DraftOrder) -> None:
    latest = _latest(order)
    if latest is None or latest.status != Status.FAILED:
        raise RuleViolation(
            "NOT_FAILED",
            _(
                "The latest export of order %(order)s is %(status)s; only a failed one can be "
                "retried."
            )
            % {"order": order, "status": latest.get_status_display()}
            if latest
            else _("Order %(order)s has no export yet. Push it first.") % {"order": order},
            export=latest.id if latest else None,
        )
    if not may_happen(OrderEvent.RETRIED, order.status):
        raise RuleViolation(
            "NOT_APPROVED",
            f"Order {order} has the status “{order.get_status_display()}”: it was edited. "
            "Approve and push it again.",
        )


@retried
def _export(
    order_ids: Collection[UUID],
    check: Callable[[DraftOrder], None],
    event: OrderEvent,
    action: Action,
    *,
    actor: User,
) -> dict[UUID, ErpExport | RuleViolation]:
    """Freeze orders as exports, those that `check` and the rules of all exports let pass.

    However many they are, it takes the same number of statements.
    """
    outcomes: dict[UUID, ErpExport | RuleViolation] = {}
    with transaction.atomic():
        orders = _lock(order_ids)
        conflicts = open_conflicts(order_ids)
        for order in orders:
            try:
                check(order)
                if conflict := conflicts.get(order.id):
                    raise RuleViolation(
                        "OPEN_CONFLICT",
                        _(
                            "Ack %(ack)s about order %(order)s needs a decision. Accept or dismiss "
                            "it first; otherwise the ERP may get the order twice."
                        )
                        % {"ack": conflict.filename, "order": order},
                        ack=conflict.id,
                    )
                outcomes[order.id] = _freeze(order, actor=actor)
            except RuleViolation as e:
                outcomes[order.id] = e
        exports = [e for e in outcomes.values() if isinstance(e, ErpExport)]
        lifecycle.create(exports, order_event=event, actor=actor)
        for connection_id in {export.erp_connection_id for export in exports}:
            wake_after_commit(connection_id)
        audit.record_all(action, map(_begun, exports), actor=actor)
    return outcomes


def _begun(export: ErpExport) -> Change:
    return Change(
        about=export.draft_order,
        before={"status": export.draft_order.status},
        after={
            "status": OrderStatus.PUSHING,
            "export": export.id,
            "filename": export.filename,
            "payload_sha256": export.payload_sha256,
        },
    )


def _lock(order_ids: Collection[UUID]) -> list[DraftOrder]:
    """Lock orders and load them with all that decides whether they may be exported."""
    orders = DraftOrder.objects.filter(id__in=order_ids).order_by("id")
    # Lock only here, and read in the next query: one that waited for a lock sees old joined rows.
    lock_orders(order_ids)
    past = Prefetch("exports", ErpExport.objects.defer("payload").order_by(*ErpExport.LIVE_FIRST))
    return list(with_content(orders).prefetch_related(past))


def _freeze(order: DraftOrder, *, actor: User) -> ErpExport:
    connection, document = render_order(order)
    return ErpExport(
        org=order.org,
        erp_connection=connection,
        draft_order=order,
        export_format_version=connection.connector.export_format_version,
        export_storage_key=export_storage_key(order.org_id, document),
        filename=document.filename,
        payload=document.content,
        payload_sha256=document.sha256,
        payload_size=len(document.content),
        requested_by=actor,
        approved_by=order.approved_by,
        approved_hash=order.approved_hash,
    )

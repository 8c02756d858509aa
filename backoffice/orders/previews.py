"""The preview of a decision: the result for each of a few orders, the statuses of many."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpRequest

from backoffice.orders.lists import worth
from backoffice.orders.shown import carry, differences, excerpt, join_hashes, read_carried
from backoffice.permissions import person
from connectors.models import ErpConnection
from exports.pushing.actions import Decision, Preview
from exports.pushing.batches import preview_batch
from exports.pushing.rendering import with_content
from orders.content import TOTAL, Content, content_hashes, content_of, sha256_of
from orders.models import DraftOrder

_DIFFERENCES_SHOWN = 50
_LINES_SHOWN = 500
_TEMPLATES = "admin/orders/draftorder"


def preview_each(
    request: HttpRequest, decision: Decision, found: QuerySet[DraftOrder], *, is_again: bool
) -> dict[str, Any]:
    """The result for each of a few orders, and their content if the decision compares it."""
    orders: list[Any] = list(with_content(found).annotate(total=TOTAL))
    for order in orders:
        order.worth = worth(order)
    contents = {o.pk: content_of(o) for o in orders} if decision.compares_content else {}
    seen = {o.pk: sha256_of(contents[o.pk]) if o.pk in contents else "" for o in orders}
    before = read_carried(request.POST.getlist("carried")) if is_again else {}
    preview = Preview.of(decision, orders, seen, actor=person(request))
    warned = " ".join(str(order.pk) for order, _ in preview.needs_confirmation)
    is_possible = preview.will or preview.needs_confirmation
    return {
        "template": f"{_TEMPLATES}/decide.html",
        "preview": preview,
        "connections": preview.connections,
        "changes": [_change(o, before.get(o.pk), contents[o.pk]) for o in orders]
        if is_again
        else [],
        "content": excerpt(*contents.values(), lines=_LINES_SHOWN) if len(contents) == 1 else None,
        "hidden": [
            ("orders", join_hashes(seen)),
            ("warned", warned),
            *(("carried", value) for value in carry(contents)),
        ],
        "submit": decision.name.capitalize() if is_possible else "",
    }


def _change(order: DraftOrder, before: Content | None, now: Content) -> dict[str, Any]:
    """What has changed in an order since the submitted page showed it."""
    found = differences(before, now) if before else []
    return {
        "order": order,
        "differences": found[:_DIFFERENCES_SHOWN],
        "more": max(0, len(found) - _DIFFERENCES_SHOWN),
    }


def preview_many(
    decision: Decision, orders: QuerySet[DraftOrder], ids: Sequence[UUID]
) -> dict[str, Any]:
    """What is known before a batch: how many orders are in which status."""
    preview = preview_batch(action=decision.name, orders=orders)
    reaches_erp = decision.permission == "orders.push_draftorder"
    seen = content_hashes(ids) if decision.compares_content else {}
    return {
        "template": f"{_TEMPLATES}/decide_many.html",
        "preview": preview,
        "skipped": [
            (DraftOrder.Status(status).label, count)
            for status, count in sorted(preview.by_status.items())
            if status not in decision.offered
        ],
        "skipped_count": preview.total - preview.eligible,
        "connections": ErpConnection.objects.filter(
            org__in=orders.order_by().values("org"), active=True
        ).select_related("org")
        if reaches_erp
        else [],
        "hidden": [("orders", join_hashes({key: seen.get(key, "") for key in ids}))],
        "submit": f"{decision.name.capitalize()} {preview.eligible:,} orders"
        if preview.eligible
        else "",
    }

"""The generator: it enters, approves and pushes orders, and cancels some of their exports."""

import random
import signal
import time
from pathlib import Path
from types import FrameType

from django.db import DatabaseError, connection, transaction

from accounts.models import Org, User
from chaos.plan import Plan
from exports.models import ErpExport
from exports.pushing.push import cancel_export, push_order
from kernel.errors import RuleViolation
from orders import approval
from orders.models import DraftOrder
from tests.support.builders import an_order

_BACKLOG = 24  # pending exports: enough for every worker, and batches stay small


def push_orders(plan: Plan, slugs: list[str], ledger: Path) -> None:
    """Push one order after another until terminated.

    Each new export adds a line to `ledger`: its id, file name and hash.
    """
    is_over = False

    def end(_: int, __: FrameType | None) -> None:
        nonlocal is_over
        is_over = True

    signal.signal(signal.SIGTERM, end)
    chance = random.Random(plan.seed)
    number = 0
    with ledger.open("a", buffering=1) as book:
        while not is_over:
            try:
                if ErpExport.objects.filter(status=ErpExport.Status.PENDING).count() >= _BACKLOG:
                    time.sleep(0.02)
                    continue
                export = _push(slugs[number % len(slugs)], f"PO-{number}", chance)
            except DatabaseError:
                # It is not known whether the push was committed, so try the same order again.
                connection.close()
                time.sleep(0.05)
                continue
            book.write(f"{export.id} {export.filename} {export.payload_sha256}\n")
            if chance.random() < 0.1 and _cancel(export):
                continue
            number += 1


def _push(slug: str, number: str, chance: random.Random) -> ErpExport:
    """Create, approve and push an order, as far as that is not yet done; return its live export."""
    org = Org.objects.get(slug=slug)
    actor = User.objects.get(memberships__org=org)
    order = DraftOrder.objects.filter(org=org, external_order_number=number).first()
    if order is None:
        with transaction.atomic():
            # Sizes from one packet to several: a fault can hit the middle of a long write.
            order = an_order(org, number, lines=chance.choice((1, 10, 10, 100, 600)))
    if order.status == DraftOrder.Status.READY:
        approval.approve(order.id, actor=actor)
    try:
        return push_order(order.id, actor=actor)
    except RuleViolation as e:
        if e.code != "LIVE_EXPORT":
            raise
        return order.exports.get(status__in=ErpExport.LIVE)


def _cancel(export: ErpExport) -> bool:
    """Try to cancel an export; return whether its order has to be pushed again."""
    assert export.requested_by is not None
    try:
        cancel_export(export.id, actor=export.requested_by, reason="chaos")
    except RuleViolation:
        return False
    except DatabaseError:
        connection.close()
    return True

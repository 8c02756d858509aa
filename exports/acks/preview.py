"""Ack preview: sentences that say what a decision about an ack would change."""

from collections.abc import Callable, Mapping
from typing import Final

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from exports.acks.review import open_conflicts
from exports.models import ErpAck, ErpExport
from kernel.dry_run import dry_run
from orders.models import DraftOrder

Classification = ErpAck.Classification

_MEANS: Final[Mapping[str, Promise]] = {
    Classification.APPLIED: _("This ack is applied."),
    Classification.DUPLICATE: _("This ack says nothing new: it is kept as a duplicate."),
    Classification.CONFLICT: _(
        "This ack contradicts the one that is applied now. Nothing changes yet: decide next which "
        "of the two is right."
    ),
    Classification.LATE: _(
        "This ack is late: the order was exported again. Nothing changes yet, and the ack still "
        "needs a decision."
    ),
    Classification.DISMISSED: _("This ack is ignored from now on."),
}


def ack_preview(ack: ErpAck, export: ErpExport | None, decide: Callable[[], object]) -> list[str]:
    """Ask the service itself what it would do about an answer to an export; nothing is done.

    Raises RuleViolation.
    """
    with dry_run():
        decide()
        after = ErpAck.objects.get(id=ack.id)
        told = [str(_MEANS[after.classification])]
        if export is None:
            told.append("No export and no order changes.")
        else:
            told += _changes(export, ErpExport.objects.get(id=export.id))
    if after.decided_at and after.moved_at is None:
        told.append("Its file is moved out of the ack folder by the next poll.")
    return told


def _changes(before: ErpExport, after: ErpExport) -> list[str]:
    number = ""
    if after.erp_order_id != before.erp_order_id:
        number = f" Its ERP number is {after.erp_order_id or 'none'}."
    error = ""
    if after.error_json and after.error_json != before.error_json:
        error = f" {after.error_json['message']}"
    order = after.draft_order
    can_be_pushed = order.status == DraftOrder.Status.ERROR and not open_conflicts([order.id])
    return [
        _change(f"Export {after}", before.get_status_display(), after.get_status_display())
        + number
        + error,
        _change(
            f"Order {order}", before.draft_order.get_status_display(), order.get_status_display()
        )
        + (" It can be corrected and pushed again." if can_be_pushed else ""),
    ]


def _change(what: str, before: str, after: str) -> str:
    if before == after:
        return f"{what} stays as it is: {after}."
    return f"{what} changes from “{before}” to “{after}”."

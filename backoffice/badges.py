"""Badges: a status looks the same in every list and on every page.

static/orderflow/admin.css draws them.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from exports.models import Batch, BatchItem, ErpAck, ErpExport
from exports.reporting.outlook import Code, Outlook
from orders.models import DraftOrder


class Tone(StrEnum):
    GOOD = "good"
    BUSY = "busy"
    BAD = "bad"
    QUIET = "quiet"


_ORDERS = {
    DraftOrder.Status.NEEDS_REVIEW: Tone.QUIET,
    DraftOrder.Status.READY: Tone.BUSY,
    DraftOrder.Status.APPROVED: Tone.BUSY,
    DraftOrder.Status.PUSHING: Tone.BUSY,
    DraftOrder.Status.PUSHED: Tone.GOOD,
    DraftOrder.Status.ERROR: Tone.BAD,
    DraftOrder.Status.REJECTED: Tone.QUIET,
}
_EXPORTS = {
    ErpExport.Status.PENDING: Tone.BUSY,
    ErpExport.Status.SENT: Tone.GOOD,
    ErpExport.Status.ACKED: Tone.GOOD,
    ErpExport.Status.FAILED: Tone.BAD,
}
_CLASSIFICATIONS = {
    ErpAck.Classification.APPLIED: Tone.GOOD,
    ErpAck.Classification.WAITING: Tone.BUSY,
    ErpAck.Classification.DUPLICATE: Tone.QUIET,
    ErpAck.Classification.DISMISSED: Tone.QUIET,
}
_STATES = {
    Batch.State.WAITING: Tone.BUSY,
    Batch.State.RUNNING: Tone.BUSY,
    Batch.State.FINISHED: Tone.GOOD,
    Batch.State.CANCELLED: Tone.QUIET,
}
_OUTCOMES = {
    BatchItem.Outcome.WAITING: Tone.BUSY,
    BatchItem.Outcome.DONE: Tone.GOOD,
    BatchItem.Outcome.REFUSED: Tone.BAD,
    BatchItem.Outcome.FAILED: Tone.BAD,
    BatchItem.Outcome.CANCELLED: Tone.QUIET,
}


def badge(label: str, tone: Tone) -> SafeString:
    """The label says it. The tone only colours it."""
    return format_html('<span class="badge badge-{}">{}</span>', tone.value, label)


def order_badge(order: DraftOrder) -> SafeString:
    return badge(order.get_status_display(), _ORDERS[DraftOrder.Status(order.status)])


def export_badge(status: str) -> SafeString:
    status = ErpExport.Status(status)
    return badge(status.label, _EXPORTS[status])


def outlook_badges(export: ErpExport, outlook: Outlook) -> SafeString:
    """The status of an export and, in a few words or a code, what it waits for or why it failed."""
    if outlook.code is Code.NEEDS_DECISION:
        badges = [badge(_("needs a decision"), Tone.BAD)]
    else:
        badges = [export_badge(export.status)]
    if outlook.code is Code.ACK_OVERDUE:
        badges.append(badge(_("overdue"), Tone.BAD))
    if export.picked_up_at and export.status == ErpExport.Status.SENT:
        badges.append(badge(_("picked up"), Tone.GOOD))
    reason = _codes(export.error_json or {}) if outlook.code is Code.FAILED else outlook.label
    return format_html(
        "{} <span>{}</span>", format_html_join(" ", "{}", ((b,) for b in badges)), reason
    )


def _codes(error: Mapping[str, Any]) -> str:
    """The code of an error, and that of the ERP if it said one."""
    return " ".join(code for name in ("code", "erp_code") if (code := error.get(name)))


def classification_badge(classification: str) -> SafeString:
    classification = ErpAck.Classification(classification)
    # One word fits into a list. The reason stands beside it, or on the ack's page.
    return badge(classification.lower(), _CLASSIFICATIONS.get(classification, Tone.BAD))


def ack_badge(ack: ErpAck) -> SafeString:
    """What an ack says about its order."""
    if ack.is_accepted is None:
        return badge(_("not readable"), Tone.QUIET)
    if ack.is_accepted:
        label, tone, detail = _("acknowledged"), Tone.GOOD, ack.erp_order_id
    else:
        label, tone, detail = _("refused by the ERP"), Tone.BAD, ack.error_code
    return format_html("{} <span>{}</span>", badge(label, tone), detail or "")


def state_badge(state: str) -> SafeString:
    return badge(state, _STATES[Batch.State(state)])


def outcome_badge(outcome: str) -> SafeString:
    outcome = BatchItem.Outcome(outcome)
    label = _("not allowed") if outcome is BatchItem.Outcome.REFUSED else outcome.label
    return badge(label, _OUTCOMES[outcome])

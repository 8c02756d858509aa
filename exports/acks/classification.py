"""Ack classification: what an ack means, by what it says and the status of its export. Pure."""

from typing import Final, NamedTuple

from connectors.port import Ack
from exports.lifecycle import Event
from exports.models import ErpAck, ErpExport

Verdict = ErpAck.Verdict
Status = ErpExport.Status


# What happens to an export of a status when an ack counts that accepts or refuses it.
_EVENTS: Final[dict[tuple[str, bool | None], Event]] = {
    (Status.SENT, True): Event.ACKNOWLEDGED,
    (Status.SENT, False): Event.REFUSED,
    (Status.ACKED, True): Event.RENUMBERED,
    (Status.ACKED, False): Event.REVOKED,
    (Status.FAILED, True): Event.ACCEPTED_LATE,
}


def event_of(ack: ErpAck, export: ErpExport) -> Event | None:
    """What happens to an export when an ack counts; None if that changes nothing."""
    return _EVENTS.get((export.status, ack.is_accepted))


class Judgement(NamedTuple):
    """A verdict, and why, as a sentence for a person."""

    verdict: ErpAck.Verdict
    reason: str = ""


def judge(export: ErpExport, ack: Ack, *, replaced_by: ErpExport | None) -> Judgement:
    """Return what becomes of an ack. `replaced_by`: the order's live export, if it is another."""
    if export.status == Status.PENDING:
        if export.staged_path is None:
            return Judgement(Verdict.UNMATCHED, "Its export was not sent yet.")
        return Judgement(Verdict.WAITING, "Its export is being sent.")
    if export.status == Status.SENT:
        return Judgement(Verdict.APPLIED)
    if export.status == Status.ACKED:
        return _after_acceptance(export, ack)
    if replaced_by:
        return Judgement(Verdict.LATE, f"The order was exported again as {replaced_by.filename}.")
    if not ack.is_accepted:
        return Judgement(Verdict.DUPLICATE, "The export has failed already.")
    return Judgement(
        Verdict.CONFLICT, "The ERP accepts the order, but its export counts as failed."
    )


def _after_acceptance(export: ErpExport, ack: Ack) -> Judgement:
    if not ack.is_accepted:
        return Judgement(Verdict.CONFLICT, "The ERP refuses the order, which it had accepted.")
    if ack.erp_order_id in (None, export.erp_order_id):
        return Judgement(Verdict.DUPLICATE, "The ERP has said so already.")
    if export.erp_order_id is None:
        return Judgement(Verdict.CONFLICT, "The ERP had given no order number before.")
    return Judgement(
        Verdict.CONFLICT, f"The ERP has given the order number {export.erp_order_id} before."
    )

"""Ack classification: what an ack means, by what it says and the status of its export. Pure."""

from typing import Final, NamedTuple

from connectors.port import Ack
from exports.lifecycle import Event
from exports.models import ErpAck, ErpExport

Classification = ErpAck.Classification
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


class Classified(NamedTuple):
    """A classification, and why, as a sentence for a person."""

    classification: ErpAck.Classification
    reason: str = ""


def classify(export: ErpExport, ack: Ack, *, replaced_by: ErpExport | None) -> Classified:
    """Return what becomes of an ack. `replaced_by`: the order's live export, if it is another."""
    if export.status == Status.PENDING:
        if export.staged_path is None:
            return Classified(Classification.UNMATCHED, "Its export was not sent yet.")
        return Classified(Classification.WAITING, "Its export is being sent.")
    if export.status == Status.SENT:
        return Classified(Classification.APPLIED)
    if export.status == Status.ACKED:
        return _after_acceptance(export, ack)
    if replaced_by:
        return Classified(
            Classification.LATE, f"The order was exported again as {replaced_by.filename}."
        )
    if not ack.is_accepted:
        return Classified(Classification.DUPLICATE, "The export has failed already.")
    return Classified(
        Classification.CONFLICT, "The ERP accepts the order, but its export counts as failed."
    )


def _after_acceptance(export: ErpExport, ack: Ack) -> Classified:
    if not ack.is_accepted:
        return Classified(
            Classification.CONFLICT, "The ERP refuses the order, which it had accepted."
        )
    if ack.erp_order_id in (None, export.erp_order_id):
        return Classified(Classification.DUPLICATE, "The ERP has said so already.")
    if export.erp_order_id is None:
        return Classified(Classification.CONFLICT, "The ERP had given no order number before.")
    return Classified(
        Classification.CONFLICT, f"The ERP has given the order number {export.erp_order_id} before."
    )

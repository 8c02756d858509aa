"""Ack classification: what an ack means, by what it says and the status of its export. Pure."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from connectors.port import Ack
from exports.lifecycle import Event
from exports.messages import Reason
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
    """A classification, and why: a code of exports.messages with its values."""

    classification: ErpAck.Classification
    reason: str = ""
    values: Mapping[str, str] = MappingProxyType({})


def classify(export: ErpExport, ack: Ack, *, replaced_by: ErpExport | None) -> Classified:
    """Return what becomes of an ack. `replaced_by`: the order's live export, if it is another."""
    if export.status == Status.PENDING:
        if export.staged_path is None:
            return Classified(Classification.UNMATCHED, Reason.NOT_SENT_YET)
        return Classified(Classification.WAITING, Reason.BEING_SENT)
    if export.status == Status.SENT:
        return Classified(Classification.APPLIED)
    if export.status == Status.ACKED:
        return _after_acceptance(export, ack)
    if replaced_by:
        return Classified(
            Classification.LATE, Reason.EXPORTED_AGAIN, {"filename": replaced_by.filename}
        )
    if not ack.is_accepted:
        return Classified(Classification.DUPLICATE, Reason.FAILED_ALREADY)
    return Classified(Classification.CONFLICT, Reason.ACCEPTED_AFTER_FAILURE)


def _after_acceptance(export: ErpExport, ack: Ack) -> Classified:
    if not ack.is_accepted:
        return Classified(Classification.CONFLICT, Reason.REFUSED_AFTER_ACCEPTANCE)
    if ack.erp_order_id in (None, export.erp_order_id):
        return Classified(Classification.DUPLICATE, Reason.SAID_BEFORE)
    if export.erp_order_id is None:
        return Classified(Classification.CONFLICT, Reason.FIRST_NUMBER)
    return Classified(Classification.CONFLICT, Reason.OTHER_NUMBER, {"number": export.erp_order_id})

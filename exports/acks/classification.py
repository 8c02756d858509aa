"""Ack classification: what an ack means, by what it says and the status of its export. Pure."""

from typing import NamedTuple

from connectors.port import Ack
from exports.models import ErpAck, ErpExport

Verdict = ErpAck.Verdict
Status = ErpExport.Status


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

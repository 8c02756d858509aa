"""How exports and acks look, the same in every list and on every page of the admin."""

from django.utils.safestring import SafeString

from exports.models import ErpAck, ErpExport
from orderflow.badges import Tone, badge

_EXPORTS = {
    ErpExport.Status.PENDING: Tone.BUSY,
    ErpExport.Status.SENT: Tone.GOOD,
    ErpExport.Status.ACKED: Tone.GOOD,
    ErpExport.Status.FAILED: Tone.BAD,
}
_VERDICTS = {
    ErpAck.Verdict.APPLIED: Tone.GOOD,
    ErpAck.Verdict.WAITING: Tone.BUSY,
    ErpAck.Verdict.DUPLICATE: Tone.QUIET,
    ErpAck.Verdict.DISMISSED: Tone.QUIET,
}


def export_badge(status: str) -> SafeString:
    status = ErpExport.Status(status)
    return badge(status.label, _EXPORTS[status])


def verdict_badge(verdict: str) -> SafeString:
    verdict = ErpAck.Verdict(verdict)
    # One word fits into a list; beside it, or on the ack's page, stands the reason.
    return badge(verdict.lower(), _VERDICTS.get(verdict, Tone.BAD))

"""Sentences about acks. Rows store a code and values; the sentence is worded when it is shown."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _


class Reason(StrEnum):
    """Why an ack was classified as it is. The codes are stored: they never change."""

    NOT_SENT_YET = "NOT_SENT_YET"
    BEING_SENT = "BEING_SENT"
    EXPORTED_AGAIN = "EXPORTED_AGAIN"
    FAILED_ALREADY = "FAILED_ALREADY"
    ACCEPTED_AFTER_FAILURE = "ACCEPTED_AFTER_FAILURE"
    REFUSED_AFTER_ACCEPTANCE = "REFUSED_AFTER_ACCEPTANCE"
    SAID_BEFORE = "SAID_BEFORE"
    FIRST_NUMBER = "FIRST_NUMBER"
    OTHER_NUMBER = "OTHER_NUMBER"
    REPLACED = "REPLACED"
    NO_SUCH_EXPORT = "NO_SUCH_EXPORT"
    WRONG_NAME = "WRONG_NAME"
    UNKNOWN_NAME = "UNKNOWN_NAME"
    PERHAPS_INCOMPLETE = "PERHAPS_INCOMPLETE"
    MALFORMED = "MALFORMED"


_TEXTS: Final[Mapping[str, str | Promise]] = {
    Reason.NOT_SENT_YET: _("Its export was not sent yet."),
    Reason.BEING_SENT: _("Its export is being sent."),
    Reason.EXPORTED_AGAIN: _("The order was exported again as %(filename)s."),
    Reason.FAILED_ALREADY: _("The export has failed already."),
    Reason.ACCEPTED_AFTER_FAILURE: _("The ERP accepts the order, but its export counts as failed."),
    Reason.REFUSED_AFTER_ACCEPTANCE: _("The ERP refuses the order, which it had accepted."),
    Reason.SAID_BEFORE: _("The ERP has said so already."),
    Reason.FIRST_NUMBER: _("The ERP had given no order number before."),
    Reason.OTHER_NUMBER: _("The ERP has given the order number %(number)s before."),
    Reason.REPLACED: _("A later ack was accepted instead."),
    Reason.NO_SUCH_EXPORT: _("No export of this connection has this name."),
    Reason.WRONG_NAME: _(
        "The name is not that of an ack. Expected: %(expected)s. Assign the file to its export, "
        "and ask the ERP team to correct the name."
    ),
    Reason.UNKNOWN_NAME: _(
        "The name is not that of an ack. Expected: ack_ or error_ and the name of the order's "
        "file. Assign the file to its export, and ask the ERP team to correct the name."
    ),
    Reason.PERHAPS_INCOMPLETE: _("It may still be being written. %(problem)s"),
    Reason.MALFORMED: _("%(code)s: %(problem)s"),
}


def message(code: str, values: Mapping[str, str]) -> str:
    """The sentence of a stored code; the code itself if this release does not know it."""
    return str(_TEXTS.get(code, code)) % values

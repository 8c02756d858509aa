"""Notes in the history that the admin shows of an object."""

from django.contrib.admin.models import CHANGE, LogEntry
from django.db.models import Model

from accounts.models import User


def note(obj: Model, what: str, *, actor: User, flag: int = CHANGE) -> None:
    """Let the history say what somebody has done, in a sentence."""
    LogEntry.objects.log_actions(actor.pk, [obj], flag, change_message=what, single_object=True)

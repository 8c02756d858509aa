"""Housekeeping: deletes ended sessions, and old failures of the queue."""

from datetime import timedelta
from typing import Final

from django_q.models import Failure

from accounts.sessions import SessionStore
from kernel.db import db_now

# django-q2's save_limit is for tasks that succeeded.
FAILED_TASKS_KEPT_FOR: Final = timedelta(days=14)


def prune() -> None:
    """Delete the sessions that have ended, and what failed in the queue long ago."""
    SessionStore.clear_expired()
    Failure.objects.filter(stopped__lt=db_now() - FAILED_TASKS_KEPT_FOR).delete()

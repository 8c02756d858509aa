"""The outbox: writes a notification in the transaction of the change that it tells of."""

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction

from kernel.db import db_now
from notifications.mail import ADVICE, recipients
from notifications.models import EventType, Notification, Webhook


def publish_event(
    event_type: EventType,
    org_id: UUID,
    describe: Callable[[], Iterable[Mapping[str, Any]]],
    *,
    by_mail: bool = True,
) -> None:
    """Note for those who want to hear of it what has happened once or several times in an org.

    To be called within the transaction that makes it happen. `describe` returns the data of each
    time, as JSON; it is not asked if nobody listens. Not `by_mail`: a person has done it.
    """
    assert transaction.get_connection().in_atomic_block
    chosen = Webhook.objects.filter(org=org_id, active=True).values_list("event_types", flat=True)
    to_webhook = event_type in (chosen.first() or ())
    to_people = by_mail and event_type in ADVICE and recipients(org_id).exists()
    if not to_webhook and not to_people:
        return
    now = db_now()
    bundle = timedelta(minutes=settings.MAIL_BUNDLE_MINUTES)
    Notification.objects.bulk_create(
        Notification(
            org_id=org_id,
            event_type=event_type,
            created_at=now,
            data=data,
            webhook_due_at=now if to_webhook else None,
            mail_due_at=now + bundle if to_people else None,
        )
        for data in describe()
    )

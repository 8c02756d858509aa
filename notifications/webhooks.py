"""Webhooks: set them up, change their secrets, test them, send a message again."""

from collections.abc import Collection
from datetime import timedelta
from uuid import UUID

from django.db import transaction

from accounts import audit
from accounts.audit import Action
from accounts.models import Org, User
from connectors.errors import ConnectorError
from connectors.secrets import Secret
from kernel.db import Now, db_now
from notifications.models import EventType, Notification, Webhook
from notifications.signing import new_secret

KEPT_FOR = timedelta(days=14)
_PRUNED_AT_ONCE = 10_000


def create_webhook(
    org: Org, *, url: str, event_types: Collection[str], active: bool = True, actor: User
) -> tuple[Webhook, Secret]:
    """Return a new webhook and its secret, which cannot be read again."""
    secret = new_secret()
    webhook = Webhook(
        org=org,
        url=url,
        event_types=list(event_types),
        active=active,
        secret_set_at=db_now(),
        secret_set_by=actor,
    )
    webhook.seal(secret)
    after = {"url": url, "event_types": webhook.event_types, "active": active}
    with transaction.atomic():
        webhook.save(force_insert=True)
        audit.record(Action.WEBHOOK_CREATED, webhook, actor=actor, after=after)
    return webhook, secret


def change_webhook(
    webhook_id: UUID, *, url: str, event_types: Collection[str], active: bool, actor: User
) -> None:
    """Change where and of what it tells. One that is active begins without its past failures."""
    fresh = {"failures": 0, "failing_since": None, "retry_at": None, "last_error": ""}
    enabled = {"disabled_at": None, "disabled_reason": "", **fresh} if active else {}
    said = {"url": url, "event_types": list(event_types), "active": active}
    with transaction.atomic():
        row = Webhook.objects.select_for_update(no_key=True).get(id=webhook_id)
        Webhook.objects.filter(id=row.id).update(**said, updated_at=Now(), **enabled)
        before, after = audit.differences({name: getattr(row, name) for name in said}, said)
        if before:
            audit.record(Action.WEBHOOK_CHANGED, row, actor=actor, before=before, after=after)


def replace_secret(webhook_id: UUID, *, actor: User) -> Secret:
    """Return a new secret, which cannot be read again; the former one signs for a day as well."""
    secret = new_secret()
    with transaction.atomic():
        webhook = Webhook.objects.select_for_update().get(id=webhook_id)
        try:
            former = webhook.secrets[:1]
        except ConnectorError:
            # No key opens it any more: this is how to get out of that.
            former = []
        webhook.seal(secret, *former)
        webhook.secret_set_at, webhook.secret_set_by = db_now(), actor
        webhook.save(update_fields=["config_encrypted", "secret_set_at", "secret_set_by"])
        audit.record(Action.WEBHOOK_SECRET_REPLACED, webhook, actor=actor)
    return secret


def send_test(webhook: Webhook) -> Notification:
    """Put a message that means nothing into the outbox."""
    now = db_now()
    _wake(webhook.org_id)
    return Notification.objects.create(
        org_id=webhook.org_id,
        event_type=EventType.WEBHOOK_TEST,
        created_at=now,
        data={},
        webhook_due_at=now,
    )


def redeliver(notification: Notification) -> bool:
    """Let a notification be delivered once more; False if its org has no active webhook."""
    if not _wake(notification.org_id):
        return False
    Notification.objects.filter(id=notification.id).update(webhook_due_at=Now(), delivered_at=None)
    return True


def _wake(org_id: UUID) -> bool:
    """Let the next attempt be made at once, whatever has failed."""
    active = Webhook.objects.filter(org=org_id, active=True)
    return bool(active.update(failures=0, retry_at=None))


def prune() -> int:
    """Delete what happened long ago; some at once. Return how many.

    What still waits by then does so at a webhook that was made inactive or disabled.
    """
    old = Notification.objects.filter(created_at__lt=db_now() - KEPT_FOR)
    some = list(old.order_by("created_at").values_list("id", flat=True)[:_PRUNED_AT_ONCE])
    return Notification.objects.filter(id__in=some).delete()[1].get("notifications.Notification", 0)

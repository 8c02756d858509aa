"""Sends due messages to webhooks: at least once each, in no promised order.

A worker claims rows for as long as its requests can take at most; it notes what came of them, or
dies, and then another one claims them again. Receivers notice a repetition by the webhook-id.
"""

import json
import logging
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q

from connectors import ownership
from connectors.errors import ConnectorError
from connectors.secrets import Secret
from kernel.backoff import wait_after
from kernel.db import db_now, retried
from kernel.failpoints import failpoint
from notifications import signing
from notifications.models import EventType, Notification, Webhook, WebhookAttempt
from notifications.outbox import publish_event
from notifications.posting import CONNECT_SECONDS, EXCHANGE_SECONDS, PostResponse, post

logger = logging.getLogger(__name__)

AT_ONCE = 32
LEASE = timedelta(seconds=2 * (2 * CONNECT_SECONDS + EXCHANGE_SECONDS))
GIVE_UP_AFTER = timedelta(days=3)
DISABLE_AFTER = timedelta(days=5)
_GONE = 410


class _Message(NamedTuple):
    """`error`: why it cannot be signed."""

    notification: Notification
    webhook: Webhook
    secrets: Sequence[Secret]
    error: str


def send_due() -> int:
    """Send some of what is due, of each webhook its share, all at once; return how many."""
    messages = _claim()
    if not messages:
        return 0
    failpoint("webhooks_claimed")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(_send, messages))
    failpoint("webhooks_sent")
    _record(messages, answers)
    return len(messages)


@retried
@transaction.atomic
def _claim() -> list[_Message]:
    """Of a webhook that fails one goes ahead, the least tried: the failure may be its own."""
    now = db_now()
    due = Notification.objects.filter(webhook_due_at__lte=now)
    ready = Webhook.objects.filter(
        ownership.is_ours(),
        Q(retry_at=None) | Q(retry_at__lte=now),
        Exists(due.filter(org=OuterRef("org"))),
        active=True,
    )
    # Should there be more of them than can be served at once, chance is fair.
    webhooks = list(ready.order_by("?").select_for_update(skip_locked=True, of=["self"])[:AT_ONCE])
    messages = []
    for webhook in webhooks:
        order, share = "webhook_due_at", AT_ONCE // len(webhooks)
        if webhook.failures:
            order, share = "attempts", 1
            Webhook.objects.filter(id=webhook.id).update(retry_at=now + LEASE)
        rows = due.filter(org=webhook.org_id).order_by(order, "created_at")
        claimed = list(rows.select_for_update(skip_locked=True, of=["self"])[:share])
        Notification.objects.filter(id__in=[row.id for row in claimed]).update(
            webhook_due_at=now + LEASE, attempts=F("attempts") + 1
        )
        messages += _messages(webhook, claimed)
    return messages


def _messages(webhook: Webhook, notifications: Iterable[Notification]) -> list[_Message]:
    secrets: list[Secret] = []
    error = ""
    try:
        secrets = webhook.secrets
    except ConnectorError as e:
        error = f"The secret cannot be read: {e.message}"
    return [_Message(notification, webhook, secrets, error) for notification in notifications]


def _send(message: _Message) -> PostResponse:
    """Runs in a thread of its own: without the database."""
    if message.error:
        return PostResponse(milliseconds=0, error=message.error)
    notification = message.notification
    body = json.dumps(
        {
            "type": notification.event_type,
            "timestamp": notification.created_at.isoformat(),
            "data": notification.data,
        }
    ).encode()
    now = int(time.time())
    headers = signing.headers(message.secrets, notification.message_id, now, body)
    return post(message.webhook.url, body, {"Content-Type": "application/json", **headers})


@retried
@transaction.atomic
def _record(messages: Sequence[_Message], answers: Sequence[PostResponse]) -> None:
    now = db_now()
    answered = defaultdict(list)
    for message, answer in zip(messages, answers, strict=True):
        answered[message.webhook.id].append((message, answer))
    # In one order, so that two workers cannot block each other.
    for webhook in Webhook.objects.select_for_update().filter(id__in=answered).order_by("id"):
        _note(webhook, answered[webhook.id], now)


def _note(
    webhook: Webhook, answered: Sequence[tuple[_Message, PostResponse]], now: datetime
) -> None:
    # One that became too old meanwhile may be pruned; none is from here on.
    told = Notification.objects.filter(id__in=[message.notification.id for message, _ in answered])
    kept = set(told.select_for_update(no_key=True, of=["self"]).values_list("id", flat=True))
    WebhookAttempt.objects.bulk_create(
        WebhookAttempt(
            notification=message.notification,
            at=now,
            url=message.webhook.url,
            status=answer.status,
            milliseconds=answer.milliseconds,
            error=answer.error,
            response=answer.snippet,
        )
        for message, answer in answered
        if message.notification.id in kept
    )
    delivered = [message.notification.id for message, answer in answered if not answer.error]
    Notification.objects.filter(id__in=delivered).update(delivered_at=now, webhook_due_at=None)
    for message, answer in answered:
        if answer.error:
            _put_off(message.notification, now)
    if delivered:
        webhook.failures, webhook.failing_since, webhook.retry_at = 0, None, None
        webhook.last_error = ""
    else:
        webhook.last_error = answered[0][1].error
        ids = {"org_id": webhook.org_id}
        logger.warning("webhook %s: %s", webhook.id, webhook.last_error, extra=ids)
        webhook.failures += 1
        webhook.failing_since = webhook.failing_since or now
        webhook.retry_at = now + wait_after(webhook.failures)
        is_gone = any(answer.status == _GONE for _, answer in answered)
        if webhook.active and (is_gone or webhook.failing_since < now - DISABLE_AFTER):
            _disable(webhook, now)
    webhook.save(update_fields=["failures", "failing_since", "retry_at", "last_error"])


def _put_off(notification: Notification, now: datetime) -> None:
    is_too_old = notification.created_at < now - GIVE_UP_AFTER
    due_at = None if is_too_old else now + wait_after(notification.attempts + 1)
    # Another worker, to which it had fallen meanwhile, may have delivered it.
    undelivered = Notification.objects.filter(id=notification.id, delivered_at=None)
    undelivered.update(webhook_due_at=due_at)


def _disable(webhook: Webhook, now: datetime) -> None:
    since = f"{webhook.failing_since:%Y-%m-%d %H:%M} UTC"
    reason = f"Nothing could be delivered since {since}. {webhook.last_error}"
    Webhook.objects.filter(id=webhook.id).update(
        active=False, disabled_at=now, disabled_reason=reason
    )
    publish_event(
        EventType.WEBHOOK_DISABLED,
        webhook.org_id,
        lambda: [{"webhook_id": webhook.id, "url": webhook.url, "reason": reason}],
    )

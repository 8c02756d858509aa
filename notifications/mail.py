"""Mail to the operators of an organisation: one mail for all that needs attention."""

import logging
from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from smtplib import SMTPException, SMTPRecipientsRefused
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.mail import EmailMessage
from django.db import transaction
from django.db.models import QuerySet
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from accounts.models import Org, User
from connectors import ownership
from kernel.db import Now, db_now
from kernel.failpoints import failpoint
from notifications.models import EventType, Notification

logger = logging.getLogger(__name__)

# Longer than a mail takes; after a failure it is tried again then.
LEASE = timedelta(minutes=10)
GIVE_UP_AFTER = timedelta(days=3)
_AT_ONCE = 10_000
_TOLD_OF_EACH = 20

# What is mailed: what to do if the error itself does not say it.
ADVICE = {
    EventType.EXPORT_FAILED: _(
        "Open the export, correct the cause shown there, then push the order again."
    ),
    EventType.EXPORT_OVERDUE: _(
        "Ask the ERP team whether they have the file. Nothing is sent again automatically."
    ),
    EventType.ACK_CONFLICT: _(
        "Ask the ERP team which ack is right, then accept or dismiss this one."
    ),
    EventType.CONNECTION_PAUSED: _("Its exports wait until the connection is repaired and tested."),
    EventType.CONNECTION_RECOVERED: _("Nothing to do: waiting exports are being sent."),
    EventType.WEBHOOK_DISABLED: _(
        "Ask the owner of the receiver to repair it, then activate the webhook again."
    ),
}
# By the first word of the type of an event: the page about it, and the id in its data.
_PAGES = {
    "export": ("exports_erpexport", "export_id"),
    "ack": ("exports_erpack", "ack_id"),
    "connection": ("connectors_erpconnection", "connection_id"),
    "webhook": ("notifications_webhook", "webhook_id"),
}


def recipients(org_id: UUID) -> QuerySet[User]:
    """Who gets the mail of an org: members with the permission and an address."""
    if settings.EMAIL_BACKEND == "django.core.mail.backends.dummy.EmailBackend":
        return User.objects.none()
    people = User.objects.with_perm("notifications.receive_mail")
    return people.filter(memberships__org=org_id, memberships__gets_mail=True).exclude(email="")


def send_due() -> int:
    """Mail each org that has something due, with all that waits; return how many mails."""
    now = db_now()
    waiting = Notification.objects.filter(ownership.is_ours(), mail_due_at__isnull=False)
    waiting.filter(created_at__lt=now - GIVE_UP_AFTER).update(mail_due_at=None)
    count = 0
    for org in Org.objects.filter(id__in=waiting.filter(mail_due_at__lte=now).values("org")):
        claimed = _claim(org)
        addresses = list(recipients(org.id).values_list("email", flat=True))
        told = Notification.objects.filter(id__in=[notification.id for notification in claimed])
        if claimed and addresses:
            try:
                _compose(org, claimed, addresses).send()
            except (OSError, SMTPException) as e:
                logger.warning("mail: %s", type(e).__name__, extra={"org_id": org.id})
                if isinstance(e, SMTPRecipientsRefused):
                    continue
                # The server is the same for all orgs.
                return count
            failpoint("mailed")
            told.update(mailed_at=Now())
            count += 1
        told.update(mail_due_at=None)
    return count


@transaction.atomic
def _claim(org: Org) -> list[Notification]:
    """All that waits, whether or not it is due: unless another worker was quicker."""
    waiting = Notification.objects.filter(org=org, mail_due_at__isnull=False)
    if not waiting.filter(mail_due_at__lte=db_now()).exists():
        return []
    rows = waiting.order_by("created_at").select_for_update(skip_locked=True)
    claimed = list(rows[:_AT_ONCE])
    waiting.filter(id__in=[row.id for row in claimed]).update(mail_due_at=db_now() + LEASE)
    return claimed


def _compose(org: Org, notifications: Sequence[Notification], to: list[str]) -> EmailMessage:
    by_type: dict[EventType, list[Notification]] = defaultdict(list)
    for notification in notifications:
        by_type[EventType(notification.event_type)].append(notification)
    sections = [
        {
            "title": f"{t.label} ({len(by_type[t])})",
            "advice": ADVICE[t],
            "entries": [_entry(one) for one in by_type[t][:_TOLD_OF_EACH]],
            "more": len(by_type[t]) - _TOLD_OF_EACH,
        }
        for t in ADVICE
        if by_type[t]
    ]
    subject = ", ".join(str(section["title"]) for section in sections)
    text = render_to_string(
        "notifications/mail.txt",
        {"org": org, "sections": sections, "dashboard": _url("admin:index")},
    )
    return EmailMessage(_one_line(f"[Orderflow] {org.name}: {subject}"), text, to=to)


def _entry(notification: Notification) -> dict[str, Any]:
    data = notification.data
    error = data.get("error") or {}
    is_over = notification.event_type == EventType.CONNECTION_RECOVERED
    page, key = _PAGES[notification.event_type.partition(".")[0]]
    about = data.get("order_number") or data.get("connector_type") or data.get("url")
    return {
        "at": notification.created_at,
        "about": _one_line(about),
        "what": _one_line(error.get("message") or data.get("reason") or ""),
        "hint": "" if is_over else _one_line(error.get("hint") or ""),
        "url": _url(f"admin:{page}_change", data[key]),
    }


def _one_line(text: str) -> str:
    """Line breaks in texts from outside become spaces, so that they add no lines to the mail."""
    return " ".join(text.split())


def _url(name: str, *args: object) -> str:
    return settings.PUBLIC_URL + reverse(name, args=args) if settings.PUBLIC_URL else ""

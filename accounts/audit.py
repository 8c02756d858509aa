"""The audit log: who did what, to what and from where. docs/security.md lists the actions.

Services record what they do within the transaction that does it: so there is an entry if and only
if the change was committed, from the admin, the API or a command.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Model, TextChoices

from accounts.models import FORMER_ACTIONS, AuditEntry, Org, User
from kernel.request_context import Origin, origin


class Action(TextChoices):
    """What is recorded, and what it means."""

    LOGIN_SUCCEEDED = "login.succeeded", "A person logged in to the admin"
    LOGIN_FAILED = "login.failed", "A login failed"
    LOGGED_OUT = "login.ended", "A person logged out"

    ORDER_APPROVED = "order.approved", "An order was approved"
    ORDER_REJECTED = "order.rejected", "An order was rejected for good"
    APPROVAL_WITHDRAWN = "order.approval_withdrawn", "An edit cancelled an order's approval"
    ORDER_PUSHED = "order.pushed", "An order was pushed to the ERP"
    ORDER_RETRIED = "order.retried", "An order whose export had failed was pushed again"
    ORDER_ACCEPTED_LATE = "order.accepted_late", "The ERP accepted an order late"

    EXPORT_CANCELLED = "export.cancelled", "An export was cancelled before it was sent"
    EXPORT_RESOLVED = "export.resolved", "An export was resolved manually"
    EXPORT_REQUESTED = "export.delivery_requested", "A person had a waiting export tried again now"

    ACK_ASSIGNED = "ack.assigned", "An ack was assigned to an export"
    ACK_ACCEPTED = "ack.accepted", "A person accepted a conflicting or late ack"
    ACK_DISMISSED = "ack.dismissed", "An ack was dismissed"

    BATCH_CREATED = "batch.created", "A batch was started"
    BATCH_CANCELLED = "batch.cancelled", "A batch was cancelled"

    CONNECTION_CREATED = "connection.created", "A connection was set up"
    CONNECTION_CONFIGURED = "connection.configured", "The configuration of a connection was changed"
    CONNECTION_CHANGED = "connection.changed", "Other settings of a connection were changed"
    HOST_KEY_PINNED = "connection.host_key_pinned", "The host key of a server was trusted"
    CONNECTION_TESTED = "connection.tested", "A person asked for a connection test"
    CONNECTION_PAUSED = "connection.paused", "A person paused a connection"
    CONNECTION_RESUMED = "connection.resumed", "A person resumed a connection"
    CONNECTION_REQUESTED = (
        "connection.delivery_requested",
        "A person had all waiting exports of a connection tried again now",
    )

    TOKEN_CREATED = "token.created", "An API token was created"
    TOKEN_REVOKED = "token.revoked", "An API token was revoked"

    USER_CREATED = "user.created", "A user was created"
    USER_CHANGED = "user.changed", "A user, or what the user may do and see, was changed"
    PASSWORD_CHANGED = "user.password_changed", "A password was changed"
    GROUP_CREATED = "group.created", "A group was created"
    GROUP_CHANGED = "group.changed", "A group, or what its members may do, was changed"
    GROUP_DELETED = "group.deleted", "A group was deleted"
    ORG_CREATED = "org.created", "An organisation was created"
    ORG_CHANGED = "org.changed", "An organisation was changed"

    WEBHOOK_CREATED = "webhook.created", "A webhook was set up"
    WEBHOOK_CHANGED = "webhook.changed", "The events or the URL of a webhook were changed"
    WEBHOOK_SECRET_REPLACED = "webhook.secret_replaced", "A webhook got a new secret"

    SECRET_REENCRYPTED = "secret.reencrypted", "A stored secret was encrypted with the first key"
    DATABASE_CLAIMED = "database.claimed", "An installation was allowed to deliver"


def codes_of(action: str) -> list[str]:
    """All codes under which entries of an action may be stored."""
    return [action, *(old for old, new in FORMER_ACTIONS.items() if new == action)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Something that was done to one object, or to none in particular."""

    about: Model | None
    before: Mapping[str, Any] = field(default_factory=dict)
    after: Mapping[str, Any] = field(default_factory=dict)


def record(
    action: Action,
    about: Model | None,
    *,
    actor: User | None,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    """Note what was done. No actor: the system, or a person on its command line."""
    record_all(action, [Change(about=about, before=before or {}, after=after or {})], actor=actor)


def record_all(action: Action, changes: Iterable[Change], *, actor: User | None) -> None:
    """Note what was done to several objects, in one statement."""
    here = origin()
    AuditEntry.objects.bulk_create(
        AuditEntry(
            actor=actor,
            actor_name=actor.contact if actor else "",
            address=here.address,
            request_id=here.request_id,
            action=action,
            before=change.before,
            after=change.after,
            **_named(change.about),
        )
        for change in changes
    )


def differences(
    before: Mapping[str, Any], after: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What of two descriptions of an object is not the same in both."""
    missing = object()
    changed = [
        name
        for name in [*before, *(after.keys() - before.keys())]
        if before.get(name, missing) != after.get(name, missing)
    ]
    return (
        {name: before[name] for name in changed if name in before},
        {name: after[name] for name in changed if name in after},
    )


def _named(about: Model | None) -> dict[str, Any]:
    """The fields that say what an entry is about."""
    if about is None:
        return {}
    return {
        "org_id": about.pk if isinstance(about, Org) else getattr(about, "org_id", None),
        "object_type": about._meta.label_lower,
        "object_id": str(about.pk),
        "object_label": str(about),
    }


def origin_of(action: Action, about: Model) -> Origin:
    """Where it was asked for from that this was done; empty if it is not recorded."""
    entry = AuditEntry.objects.filter(
        action=action, object_type=about._meta.label_lower, object_id=str(about.pk)
    ).first()
    return Origin(
        address=entry.address if entry else "", request_id=entry.request_id if entry else ""
    )

"""The audit log: writes what people did, to what and from where. docs/audit.md lists the actions.

Services record what they do within the transaction that does it: so there is an entry if and only
if the change was committed, through whatever door it came.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Model, TextChoices

from accounts.models import FORMER_ACTIONS, AuditEntry, Org, User
from kernel.request_context import Origin, origin


class Action(TextChoices):
    """What is recorded, and what it means."""

    LOGIN_SUCCEEDED = "login.succeeded", "Somebody logged in to the admin"
    LOGIN_FAILED = "login.failed", "A login was refused"
    LOGGED_OUT = "login.ended", "Somebody logged out"

    ORDER_APPROVED = "order.approved", "An order was approved"
    ORDER_REJECTED = "order.rejected", "An order was rejected for good"
    APPROVAL_WITHDRAWN = "order.approval_withdrawn", "An edit took back an order's approval"
    ORDER_PUSHED = "order.pushed", "An order was pushed to the ERP"
    ORDER_RETRIED = "order.retried", "An order whose export had failed was pushed again"
    ORDER_ACCEPTED_LATE = "order.accepted_late", "The ERP accepted late what was sent of an order"

    EXPORT_CANCELLED = "export.cancelled", "An export was taken back before it was sent"
    EXPORT_RESOLVED = "export.resolved", "A person said what became of an export"
    EXPORT_REQUESTED = "export.delivery_requested", "A waiting export was to be tried again at once"

    ACK_ASSIGNED = "ack.assigned", "A person said which export an answer is about"
    ACK_ACCEPTED = "ack.accepted", "A person accepted a conflicting or late ack"
    ACK_DISMISSED = "ack.dismissed", "An answer was made to mean nothing"

    BATCH_CREATED = "batch.created", "A decision about many orders was made"
    BATCH_CANCELLED = "batch.cancelled", "The rest of a batch was left undone"

    CONNECTION_CREATED = "connection.created", "A connection was set up"
    CONNECTION_CONFIGURED = "connection.configured", "The configuration of a connection was changed"
    CONNECTION_CHANGED = "connection.changed", "What else is set of a connection was changed"
    HOST_KEY_PINNED = "connection.host_key_pinned", "The host key of a server was trusted"
    CONNECTION_TESTED = "connection.tested", "A person asked for a connection test"
    CONNECTION_PAUSED = "connection.paused", "Deliveries on a connection were stopped by hand"
    CONNECTION_RESUMED = "connection.resumed", "A pause was lifted by hand"
    CONNECTION_REQUESTED = (
        "connection.delivery_requested",
        "All that waits on a connection was to be tried again at once",
    )

    TOKEN_CREATED = "token.created", "An API token was made"
    TOKEN_REVOKED = "token.revoked", "An API token was revoked"

    USER_CREATED = "user.created", "A user was made"
    USER_CHANGED = "user.changed", "A user, or what the user may do and see, was changed"
    PASSWORD_CHANGED = "user.password_changed", "A password was changed"
    GROUP_CREATED = "group.created", "A group was made"
    GROUP_CHANGED = "group.changed", "A group, or what its members may do, was changed"
    GROUP_DELETED = "group.deleted", "A group was deleted"
    ORG_CREATED = "org.created", "An organisation was made"
    ORG_CHANGED = "org.changed", "An organisation was changed"

    WEBHOOK_CREATED = "webhook.created", "A webhook was set up"
    WEBHOOK_CHANGED = "webhook.changed", "What a webhook tells, or where, was changed"
    WEBHOOK_SECRET_REPLACED = "webhook.secret_replaced", "A webhook got a new secret"

    SECRET_REENCRYPTED = "secret.reencrypted", "A stored secret was encrypted with the first key"
    DATABASE_CLAIMED = "database.claimed", "An installation was made the one that delivers"


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
    """Note what was done. No actor: the system, or whoever has its command line."""
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

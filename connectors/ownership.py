"""Ownership: one installation may deliver from a database; a copy must not deliver again.

The database says which installation it belongs to, and where it was then: a restored dump is
another database, even where the installation has the same name.
"""

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, QuerySet

from accounts import audit, sessions
from accounts.audit import Action
from connectors.models import DeliveryInstance
from kernel.db import DatabaseIdentity, Now


class OtherInstance(Exception):
    """This database belongs to another installation. The text says what to do."""


def ours() -> QuerySet[DeliveryInstance]:
    """One row if this installation may deliver, else none."""
    return DeliveryInstance.objects.filter(
        name=settings.DELIVERY_INSTANCE, database=DatabaseIdentity()
    )


def is_ours() -> Exists:
    """The condition that this installation may deliver, for queries."""
    return Exists(ours())


def denial_reason() -> str:
    """Why nothing is delivered, polled or moved, and what to do about it; empty if all is."""
    owner = DeliveryInstance.objects.annotate(here=DatabaseIdentity()).first()
    ours = settings.DELIVERY_INSTANCE
    if owner and owner.name != ours:
        cause = (
            f"this database belongs to the installation “{owner.name}”, and this one is “{ours}”. "
            f"Correct DELIVERY_INSTANCE if it should be “{owner.name}”"
        )
    elif owner and owner.database != owner.here:
        cause = f"this database was restored or copied since the installation “{ours}” claimed it"
    elif owner:
        return ""
    else:
        cause = "this database belongs to no installation"
    return (
        f"Nothing is sent and no ack is read: {cause}. To deliver from this database, run "
        "manage.py reconcile first, then: manage.py claim_delivery_instance"
    )


def require() -> None:
    """Raises OtherInstance unless this installation may deliver."""
    if text := denial_reason():
        raise OtherInstance(text)


def claim() -> None:
    """Make this installation the one that delivers from this database, as it is now.

    Sessions end: those of a backup may have ended since, and those of a copy belong elsewhere.
    """
    with transaction.atomic():
        sessions.end_all()
        owner = DeliveryInstance.objects.select_for_update().first()
        DeliveryInstance.objects.update_or_create(
            id=DeliveryInstance.ONLY,
            defaults={
                "name": settings.DELIVERY_INSTANCE,
                "database": DatabaseIdentity(),
                "claimed_at": Now(),
            },
        )
        audit.record(
            Action.DATABASE_CLAIMED,
            None,
            actor=None,
            before={"installation": owner.name} if owner else {},
            after={"installation": settings.DELIVERY_INSTANCE},
        )


def claim_new() -> None:
    """Claim a database that belongs to no installation yet."""
    DeliveryInstance.objects.bulk_create(
        [
            DeliveryInstance(
                id=DeliveryInstance.ONLY,
                name=settings.DELIVERY_INSTANCE,
                database=DatabaseIdentity(),
            )
        ],
        ignore_conflicts=True,
    )

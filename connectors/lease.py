"""The lease of a connection: one worker at a time serves it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import Q

from connectors import ownership
from connectors.models import ErpConnection
from kernel.db import db_now

# Long enough for a batch, short enough for what a killed worker held. A worker that outlives its
# lease does no harm: the protocol of delivery does not rest on it.
DURATION = timedelta(seconds=30)


@dataclass(slots=True)
class Lease:
    """A lease held until `until`; its end is also what tells it from another worker's."""

    connection_id: UUID
    until: datetime

    def renew(self) -> bool:
        """Extend from now. False: it ran out and another worker has it."""
        until = db_now() + DURATION
        held = ErpConnection.objects.filter(
            ownership.is_ours(), id=self.connection_id, lease_until=self.until
        )
        if not held.update(lease_until=until):
            return False
        self.until = until
        return True

    def release(self) -> None:
        ErpConnection.objects.filter(id=self.connection_id, lease_until=self.until).update(
            lease_until=None
        )


def acquire(connection_id: UUID) -> Lease | None:
    """Return a new lease, or None while another worker holds one or nothing may be delivered."""
    now = db_now()
    lease = Lease(connection_id, now + DURATION)
    free = ErpConnection.objects.filter(
        Q(lease_until=None) | Q(lease_until__lte=now), ownership.is_ours()
    )
    return lease if free.filter(id=connection_id).update(lease_until=lease.until) else None

"""Pickup detection: a sent file that is no longer in the export folder was taken by the ERP."""

from django.db.models import QuerySet

from connectors import circuit_breaker
from connectors.errors import ConnectorError
from connectors.models import ErpConnection
from connectors.port import Session
from exports import lifecycle
from exports.lifecycle import Event, eligible_for
from exports.models import ErpExport

# More than that are looked for in one listing of the folder instead of one by one.
_LOOKED_AT = 200
_AT_ONCE = 5000


def outstanding(connection: ErpConnection) -> QuerySet[ErpExport]:
    """The exports of which it is not known whether the ERP has taken them."""
    return ErpExport.objects.filter(eligible_for(Event.PICKED_UP), erp_connection=connection)


def detect(connection: ErpConnection, session: Session) -> int:
    """Note which files were picked up; return how many. Raises ConnectorError.

    Only where they were put: in another folder their absence says nothing.
    """
    here = session.destination()
    if here.is_missing:
        circuit_breaker.note_missing_folder(connection.id)
        raise ConnectorError("DIR_MISSING")
    rows = outstanding(connection).filter(destination=here.as_json()).order_by("sent_at")
    waiting = {name: key for key, name in rows.values_list("id", "filename")[:_AT_ONCE]}
    if len(waiting) > _LOOKED_AT:
        waiting = dict(waiting)
        for name in session.listing():
            waiting.pop(name, None)
    # Also after a complete listing: a file that was renamed meanwhile may be missing in it.
    seen = session.visible(list(waiting))
    taken = [key for key, is_there in zip(waiting.values(), seen, strict=True) if is_there is False]
    if error := next((found for found in seen if isinstance(found, ConnectorError)), None):
        raise error
    return len(lifecycle.apply(Event.PICKED_UP, taken))

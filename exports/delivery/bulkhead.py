"""The bulkhead: dropzones that do not answer take at most half of the workers.

A connection is in the slow lane after a failure, and after its server did not answer soon. In the
fast lane a worker has little patience; in the slow lane it has all the time that the configuration
gives, but the lane is narrow.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from uuid import UUID

from django.db.models import Q, QuerySet

from connectors import circuit_breaker, lease
from connectors.errors import ConnectorError, Kind
from connectors.lease import Lease
from connectors.models import ErpConnection
from connectors.port import Session
from exports.delivery import heartbeat
from kernel.db import db_now

logger = logging.getLogger(__name__)

SLOW = Q(failures__gt=0) | Q(slow_since__isnull=False)

_PATIENCE_SECONDS = 1.0
# A server that took longer than that in its last test is given this many times as long.
_TIMES_AS_LONG = 3


class TooSlow(Exception):
    """A server was not reached soon: the connection waits for the slow lane."""


def acquire(connection_id: UUID) -> Lease | None:
    """Return a lease; None while another worker serves the connection, or its lane is full."""
    held = lease.acquire(connection_id)
    if held is None:
        return None
    serving = set(_served_slowly().values_list("id", flat=True))
    if connection_id in serving and len(serving) > width():
        held.release()
        return None
    return held


def free_slots() -> int:
    """How many more connections of the slow lane may be served now."""
    return max(0, width() - _served_slowly().count())


def width() -> int:
    """How many connections of the slow lane are served at once: half the workers, at least one."""
    return max(1, heartbeat.count_processes() // 2)


@contextmanager
def open_session(connection: ErpConnection) -> Iterator[Session]:
    """Reach the dropzone of a leased connection. Raises ConnectorError or TooSlow."""
    with ExitStack() as stack:
        yield _reach(stack, connection)


def _reach(stack: ExitStack, connection: ErpConnection) -> Session:
    connector, config = connection.connector, connection.parse_config()
    if connection.failures or connection.slow_since:
        return stack.enter_context(connector.open(config))
    usual = connection.capabilities.get("reach_ms", 0) / 1000
    patience = max(_PATIENCE_SECONDS, _TIMES_AS_LONG * usual)
    began = time.monotonic()
    try:
        return stack.enter_context(connector.open(config, patience=patience))
    except ConnectorError as e:
        waited = time.monotonic() - began
        if e.kind is not Kind.REACH or waited < patience:
            raise
        logger.info("connection %s: not reached in %.1f s", connection.id, waited)
        circuit_breaker.note_slow(connection.id)
        if _served_slowly().count() > width():
            raise TooSlow from e
    return stack.enter_context(connector.open(config))


def _served_slowly() -> QuerySet[ErpConnection]:
    return ErpConnection.objects.filter(SLOW, lease_until__gt=db_now())

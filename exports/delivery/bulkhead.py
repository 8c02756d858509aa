"""The bulkhead: dropzones that do not answer take at most half of the workers.

A connection is degraded after a failure, and after its server took long to answer. A worker gives a
healthy connection a short connect timeout, and a degraded one the timeout of its configuration.
Only few degraded connections are served at a time.
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

DEGRADED = Q(failures__gt=0) | Q(degraded_since__isnull=False)

_CONNECT_TIMEOUT_SECONDS = 1.0
# A server that took longer than that in its last test is given this many times as long.
_TIMES_AS_LONG = 3


class TooSlow(Exception):
    """A server was not reached soon: the connection waits until it is served as a degraded one."""


def acquire(connection_id: UUID) -> Lease | None:
    """Return a lease; None while another worker serves it, or too many degraded ones are served."""
    held = lease.acquire(connection_id)
    if held is None:
        return None
    serving = set(_served_degraded().values_list("id", flat=True))
    if connection_id in serving and len(serving) > width():
        held.release()
        return None
    return held


def free_slots() -> int:
    """How many more degraded connections may be served now."""
    return max(0, width() - _served_degraded().count())


def width() -> int:
    """How many degraded connections are served at once: half the workers, at least one."""
    return max(1, heartbeat.count_processes() // 2)


@contextmanager
def open_session(connection: ErpConnection) -> Iterator[Session]:
    """Reach the dropzone of a leased connection. Raises ConnectorError or TooSlow."""
    with ExitStack() as stack:
        yield _reach(stack, connection)


def _reach(stack: ExitStack, connection: ErpConnection) -> Session:
    connector, config = connection.connector, connection.parse_config()
    if connection.failures or connection.degraded_since:
        return stack.enter_context(connector.open(config))
    usual = connection.capabilities.get("reach_ms", 0) / 1000
    connect_timeout = max(_CONNECT_TIMEOUT_SECONDS, _TIMES_AS_LONG * usual)
    began = time.monotonic()
    try:
        return stack.enter_context(connector.open(config, connect_timeout=connect_timeout))
    except ConnectorError as e:
        waited = time.monotonic() - began
        if e.kind is not Kind.REACH or waited < connect_timeout:
            raise
        logger.info("connection %s: not reached in %.1f s", connection.id, waited)
        circuit_breaker.note_degraded(connection.id)
        if _served_degraded().count() > width():
            raise TooSlow from e
    return stack.enter_context(connector.open(config))


def _served_degraded() -> QuerySet[ErpConnection]:
    return ErpConnection.objects.filter(DEGRADED, lease_until__gt=db_now())

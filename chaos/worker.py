"""A worker without the queue: it delivers due exports in an endless loop.

Its leases and waits are short, so that a run of minutes has as many expired leases and retries as
the service has in months.
"""

import os
import random
import time
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.db import DatabaseError, connection

from chaos import obvious
from chaos.faults import Faults
from chaos.plan import Plan
from connectors import circuit_breaker, lease
from exports.delivery import cleanup, protocol
from exports.delivery.dispatch import due_connections
from kernel import backoff

# The cleanup deletes staging files of this age. A worker lives for 10 s at most, and a stall cannot
# delay its last request for the other 5: no worker writes to a staging file that is so old.
LIFETIME_SECONDS = 10.0
MINIMUM_AGE = timedelta(seconds=15)


def work(plan: Plan, number: int, history: Path, *, with_faults: bool) -> None:
    """Deliver until this process is killed or the harness has ended."""
    chance = random.Random(plan.seed * 100_003 + number)
    shorten_waits(chance)
    if with_faults:
        faults = Faults(
            seed=chance.getrandbits(32), chance=plan.chance, only=plan.at, history=history
        )
        faults.install()
    deliver = obvious.deliver if plan.protocol == "obvious" else protocol.deliver
    fork_server = os.getppid()
    while os.getppid() == fork_server:
        try:
            due = list(due_connections().values_list("id", flat=True))
            chance.shuffle(due)
            for connection_id in due:
                deliver(connection_id)
            if chance.random() < 0.05:
                cleanup.clean_up(minimum_age=MINIMUM_AGE)
        except DatabaseError:
            connection.close()
        time.sleep(0.01)


def shorten_waits(chance: random.Random) -> None:
    """Shorten waits, batches and leases. A lease often expires while its worker is stopped."""
    settings.DEBUG = False
    lease.DURATION = timedelta(seconds=chance.uniform(0.2, 1))
    protocol.BATCH_FILES = chance.randint(1, 8)
    assert circuit_breaker._FIRST_RETRY and circuit_breaker._LAST_RETRY and backoff._WAITS
    circuit_breaker._FIRST_RETRY = timedelta(seconds=0.05)
    circuit_breaker._LAST_RETRY = timedelta(seconds=0.5)
    backoff._WAITS = (timedelta(seconds=0.1),)

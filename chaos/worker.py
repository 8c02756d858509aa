"""A worker without the queue: it finds what is due and delivers it, over and over.

Its waits are short, so that a run meets in minutes what the service meets in months.
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

# No worker lives so long, and no stall holds its last request back for the rest of it: whoever
# noted a staging name so long ago will not write it any more.
LIFETIME_SECONDS = 10.0
MINIMUM_AGE = timedelta(seconds=15)


def work(plan: Plan, number: int, history: Path, *, is_struck: bool) -> None:
    """Deliver until killed, or until the harness is gone."""
    chance = random.Random(plan.seed * 100_003 + number)
    hurry(chance)
    if is_struck:
        faults = Faults(
            seed=chance.getrandbits(32), chance=plan.chance, only=plan.at, history=history
        )
        faults.install()
    deliver = obvious.deliver if plan.protocol == "obvious" else protocol.deliver
    fixtures = os.getppid()
    while os.getppid() == fixtures:
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


def hurry(chance: random.Random) -> None:
    """Shorten leases, waits and batches; leases so much that stalled workers outlive them."""
    settings.DEBUG = False
    lease.DURATION = timedelta(seconds=chance.uniform(0.2, 1))
    protocol.BATCH_FILES = chance.randint(1, 8)
    assert circuit_breaker._FIRST_RETRY and circuit_breaker._LAST_RETRY and backoff._WAITS
    circuit_breaker._FIRST_RETRY = timedelta(seconds=0.05)
    circuit_breaker._LAST_RETRY = timedelta(seconds=0.5)
    backoff._WAITS = (timedelta(seconds=0.1),)

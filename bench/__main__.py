"""`make bench`: what the service's main steps cost, on real servers, one JSON object per line.

Medians with quartiles, in milliseconds; targets are those of the design.
"""

import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")

import django

django.setup()

from django.core.management import call_command
from django.db import connection

from connectors.dropzone.connector import DropzoneJsonV1Connector
from connectors.port import Delivery, Session
from exports.delivery import deliver
from exports.snapshots import order_snapshot, org_snapshot
from orders.models import DraftOrder
from tests.builders import a_connection, a_user, an_approved_order, an_org, some_exports
from tests.dropzones import openssh_config
from tests.servers import OpenSSHServer

CONTENT = os.urandom(25_000).hex().encode()


def timed(action: Callable[[int], object], *, rounds: int) -> list[float]:
    """Milliseconds of each round, after a tenth more to warm up."""
    took = []
    for number in range(-max(1, rounds // 10), rounds):
        began = time.perf_counter()
        action(number)
        if number >= 0:
            took.append((time.perf_counter() - began) * 1000)
    return took


def report(name: str, took: list[float], *, target_ms: float, per: int = 1) -> None:
    """Print one measurement; `per`: how many things a round did."""
    low, median, high = (q / per for q in statistics.quantiles(took, n=4))
    print(
        json.dumps(
            {
                "bench": name,
                "median_ms": round(median, 3),
                "quartiles_ms": [round(low, 3), round(high, 3)],
                "rounds": len(took),
                "target_ms": target_ms,
                "met": median < target_ms,
            }
        ),
        flush=True,
    )


def bench_document() -> None:
    org = an_org("bench-document")
    order = an_approved_order(org, a_user(org, "document"), lines=500)
    connector = DropzoneJsonV1Connector()

    def read_and_render(_: int) -> None:
        read = DraftOrder.objects.select_related(
            "org", "customer", "source_document", "approved_by"
        ).get(id=order.id)
        connector.render(order_snapshot(read), org_snapshot(read.org))

    report("document of 500 lines, read included", timed(read_and_render, rounds=50), target_ms=20)


@contextmanager
def open_session() -> Iterator[Session]:
    connector = DropzoneJsonV1Connector()
    with (
        OpenSSHServer() as server,
        connector.open(connector.parse_config(openssh_config(server))) as session,
    ):
        yield session


def bench_atomic_write(files: int, rounds: int) -> None:
    with open_session() as session:

        def write(number: int) -> None:
            names = [f"{files}_{number}_{i}.json" for i in range(files)]
            deliveries = [
                Delivery(
                    filename=name,
                    content=CONTENT,
                    staged_path=session.staging_path(name, "bench"),
                )
                for name in names
            ]
            assert not any(session.stage(deliveries))
            session.publish(deliveries, is_resumed=False)

        report(
            f"50 KB file to OpenSSH, atomic, batches of {files}",
            timed(write, rounds=rounds),
            target_ms=5,
            per=files,
        )


def bench_delivery(orders: int, rounds: int) -> None:
    with OpenSSHServer() as server:
        org = an_org("bench-ledger")
        ann = a_user(org, "ledger")
        erp = a_connection(org, openssh_config(server))
        took = []
        for number in range(rounds):
            some_exports(org, ann, orders, lines=10, first=number * orders)
            began = time.perf_counter()
            sent = deliver(erp.id).sent
            took.append((time.perf_counter() - began) * 1000)
            assert sent == orders, sent
        report(
            f"export delivered by one worker, {orders} ten-line orders waiting",
            took,
            target_ms=5,
            per=orders,
        )


def main() -> None:
    call_command("migrate", verbosity=0)
    bench_document()
    bench_atomic_write(1, rounds=200)
    bench_atomic_write(64, rounds=20)
    bench_delivery(orders=128, rounds=5)
    connection.close()


if __name__ == "__main__":
    main()

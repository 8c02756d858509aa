"""The single steps: a document, an atomic write, the delivery of what waits."""

from connectors.dropzone.connector import DropzoneJsonV1Connector
from exports.delivery.protocol import deliver
from exports.pushing.snapshots import order_snapshot, org_snapshot
from orders.models import DraftOrder
from tests.support.builders import a_connection, a_user, an_approved_order, an_org, some_exports
from tests.support.dropzones import openssh_config
from tests.support.servers import OpenSSHServer
from tests.support.servers.process import scratch_folder

from .contenders import Engine
from .measuring import report_cost, seconds_of, timed


def measure() -> None:
    _document()
    _atomic_write(batch=1, rounds=200)
    _atomic_write(batch=64, rounds=20)
    _delivery(orders=128, rounds=5)


def _document() -> None:
    org = an_org("bench-document")
    order = an_approved_order(org, a_user(org, "document"), lines=500)
    connector = DropzoneJsonV1Connector()

    def read_and_render(_: int) -> None:
        read = DraftOrder.objects.select_related(
            "org", "customer", "source_document", "approved_by"
        ).get(id=order.id)
        connector.render(order_snapshot(read), org_snapshot(read.org))

    took = timed(read_and_render, rounds=50)
    report_cost("document of 500 lines, read included", took, target_ms=20)


def _atomic_write(*, batch: int, rounds: int) -> None:
    scratch = scratch_folder("bench-write")
    files = [scratch / f"{number}.json" for number in range(batch)]
    for file in files:
        file.write_bytes(b"x" * 50_000)
    with OpenSSHServer() as server:
        engine = Engine(openssh_config(server), scratch)

        def write(_: int) -> None:
            engine.send(files)
            for file in files:
                (server.root / "exports" / file.name).unlink()

        report_cost(
            f"50 KB file to OpenSSH, atomic, batches of {batch}",
            timed(write, rounds=rounds),
            target_ms=5,
            per=batch,
        )


def _delivery(*, orders: int, rounds: int) -> None:
    with OpenSSHServer() as server:
        org = an_org("bench-ledger")
        ann = a_user(org, "ledger")
        erp = a_connection(org, openssh_config(server))
        took = []
        for number in range(rounds):
            some_exports(org, ann, orders, lines=10, first=number * orders)
            took.append(1000 * seconds_of(lambda: deliver(erp.id)))
        report_cost(
            f"export delivered by one worker, {orders} ten-line orders waiting",
            took,
            target_ms=5,
            per=orders,
        )

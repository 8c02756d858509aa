"""The demo: six orders approved, pushed and delivered by SFTP to a simulated ERP, all checked."""

import os
import secrets
import signal
import subprocess
import sys
import time
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.auth.models import Group
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from accounts.models import Org, User
from connectors import health
from connectors.configuring import create_connection
from connectors.errors import ConnectorError
from connectors.models import ErpConnection
from connectors.port import ConfigError
from exports.connections import change_config
from exports.models import ErpExport
from exports.push import push_order, retry_order
from orders.errors import Refused
from orders.models import DraftOrder
from orders.workflow import approve
from simulator.demo_orders import demo_orders, demo_script
from simulator.erp import ErpSimulator
from simulator.playground import CONNECTOR, playground, sftp_server

if TYPE_CHECKING:
    from simulator.sftp_server import SftpServer

_WAIT_SECONDS = 60
_ARRIVED = (ErpExport.Status.SENT, ErpExport.Status.ACKED)


class Command(BaseCommand):
    help = "Approve six orders and send them to an ERP on this machine. May be repeated."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--folder",
            type=Path,
            default=settings.VAR_DIR / "demo",
            help="where the SFTP server and the ERP keep their files (default: %(default)s)",
        )
        parser.add_argument(
            "--serve", action="store_true", help="then serve the admin until Ctrl-C"
        )
        parser.add_argument("--port", type=int, default=8000, help="of the admin (default: 8000)")

    def handle(self, *args: Any, **options: Any) -> None:
        # Whoever stops the demo by a signal wants all that it started stopped, too.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        folder: Path = options["folder"]
        with ExitStack() as stack:
            stack.enter_context(playground(folder))
            call_command("migrate", verbosity=0)
            server = stack.enter_context(sftp_server(folder))
            self.stdout.write(f"SFTP server on {server.host}:{server.port}, files in {server.root}")
            erp = stack.enter_context(
                ErpSimulator(
                    exports=server.exports,
                    acks=server.acks,
                    home=folder / "erp",
                    script=demo_script(),
                )
            )
            org, approver = _org_and_approver()
            self._connect(org, server)
            orders = [self._push(order, approver) for order in demo_orders(org)]
            log = folder / "worker.log"
            worker = stack.enter_context(_process("worker", log=log))
            self._wait(orders, erp, worker, log)
            self._show(orders)
            self._verify(orders, server, erp)
            if options["serve"]:
                self._serve(options["port"])
        approved = sum(order.approved_at is not None for order in orders)
        sent = sum(export.status in _ARRIVED for export in _exports(orders))
        self.stdout.write(f"demo: {approved} orders approved, {sent} sent")

    def _connect(self, org: Org, server: "SftpServer") -> None:
        """Point the org's connection at the server and test it, step by step."""
        config = server.config
        connection = org.erp_connections.filter(connector_type=CONNECTOR).first()
        if connection is None:
            connection = create_connection(org, connector_type=CONNECTOR, config=config)
        elif not _is_configured(connection, config):
            try:
                change_config(connection, config)
            except ConfigError as e:
                raise CommandError(f"The connection cannot follow the server: {e}") from e
        report = health.run_test(connection)
        self.stdout.write(f"\nConnection test of {connection}")
        for step in report.steps:
            self.stdout.write(f"  {step.outcome:8}{step.name:22}{step.note}".rstrip())
        if report.error:
            raise CommandError(f"{report.error.code}: {report.error.message}")

    def _push(self, order: DraftOrder, approver: User) -> DraftOrder:
        """Approve and push an order as far as that has not been done."""
        status = DraftOrder.Status
        try:
            if order.status in (status.NEEDS_REVIEW, status.READY):
                order = approve(order.id, actor=approver, confirm_warnings=True)
            if order.status == status.APPROVED:
                push_order(order.id, actor=approver)
            elif order.status == status.ERROR:
                retry_order(order.id, actor=approver)
        except Refused as e:
            raise CommandError(f"{order}: {e.message}") from e
        return order

    def _wait(
        self,
        orders: list[DraftOrder],
        erp: ErpSimulator,
        worker: subprocess.Popen[bytes],
        log: Path,
    ) -> None:
        """Show the progress until the ERP has all orders. Raises CommandError: what is stuck."""
        ends = time.monotonic() + _WAIT_SECONDS
        shown = None
        self.stdout.write("")
        while True:
            exports = _exports(orders)
            taken = {order.filename for order in erp.orders}
            sent = sum(export.status in _ARRIVED for export in exports)
            waiting = [export for export in exports if export.filename not in taken]
            progress = (sent, len(orders) - len(waiting))
            if progress != shown:
                shown = progress
                self.stdout.write("{} orders sent, {} taken by the ERP".format(*progress))
            if sent == len(orders) and not waiting:
                return
            if time.monotonic() > ends or worker.poll() is not None:
                break
            time.sleep(0.1)
        for export in exports:
            if export.status not in _ARRIVED or export in waiting:
                self.stderr.write(f"stuck: {export.draft_order}: {_why_stuck(export)}")
        if worker.poll() is not None:
            raise CommandError(f"The worker ended by itself; see {log}.")
        raise CommandError(f"The ERP has not got all orders within {_WAIT_SECONDS} s; see {log}.")

    def _show(self, orders: list[DraftOrder]) -> None:
        rows = [("order", "customer", "lines", "order", "export", "remote file")]
        for order, export in zip(orders, _exports(orders), strict=True):
            order.refresh_from_db()
            rows.append(
                (
                    order.external_order_number,
                    order.customer.name if order.customer else "",
                    str(order.lines.count()),
                    order.status,
                    export.status,
                    export.dropzone_path or "",
                )
            )
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        self.stdout.write("")
        for row in rows:
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            self.stdout.write("  ".join(cells).rstrip())
        self.stdout.write("")

    def _verify(self, orders: list[DraftOrder], server: "SftpServer", erp: ErpSimulator) -> None:
        """Look at what the ERP took: each order once and whole, and nothing of ours left over."""
        taken = Counter(order.sha256 for order in erp.orders)
        for export in _exports(orders):
            if (copies := taken[export.payload_sha256]) != 1:
                raise CommandError(f"{export.filename}: the ERP took it {copies} times.")
        if leftovers := [path.name for path in server.exports.iterdir()]:
            raise CommandError(f"Files are left in the dropzone: {', '.join(leftovers)}")

    def _serve(self, port: int) -> None:
        """Serve the admin until Ctrl-C."""
        password = secrets.token_urlsafe(12)
        admin, _ = User.objects.get_or_create(
            username="admin", defaults={"is_staff": True, "is_superuser": True}
        )
        admin.set_password(password)
        admin.save(update_fields=["password"])
        command = ["-m", "gunicorn", "orderflow.wsgi", "--bind", f"127.0.0.1:{port}"]
        self.stdout.write(f"http://127.0.0.1:{port}/admin/   user admin, password {password}")
        self.stdout.write("The password is new at each start. Stop with Ctrl-C.\n")
        web = subprocess.Popen([sys.executable, *command, "--log-level", "warning"])
        try:
            if code := web.wait():
                raise CommandError(f"The web server ended with code {code}.")
        except KeyboardInterrupt:
            self.stdout.write("\nstopping")
        finally:
            web.terminate()
            web.wait()


@contextmanager
def _process(command: str, *, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a management command beside this one."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, settings.BASE_DIR / "manage.py", command],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        try:
            yield process
        finally:
            process.terminate()
            process.wait()


def _org_and_approver() -> tuple[Org, User]:
    org, _ = Org.objects.get_or_create(slug="acme", defaults={"name": "Acme Demo GmbH"})
    approver, _ = User.objects.get_or_create(
        username="approver", defaults={"email": "approver@acme.example", "is_staff": True}
    )
    approver.groups.add(Group.objects.get(name="Approver"))
    org.users.add(approver)
    return org, approver


def _is_configured(connection: ErpConnection, config: dict[str, Any]) -> bool:
    try:
        return connection.config == config
    except ConnectorError:
        return False


def _exports(orders: list[DraftOrder]) -> list[ErpExport]:
    """The latest export of each order."""
    return [
        order.exports.select_related("draft_order", "erp_connection").latest("created_at")
        for order in orders
    ]


def _why_stuck(export: ErpExport) -> str:
    connection = export.erp_connection
    known = [
        export.status,
        f"connection paused: {connection.pause_reason}" if connection.is_paused else "",
        *(f"{e['code']}: {e['message']}" for e in (export.error_json, connection.last_error) if e),
    ]
    return "; ".join(filter(None, known))

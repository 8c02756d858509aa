"""The demo: six orders go by SFTP to a simulated ERP, which refuses one; that one is corrected.

Everything is checked, and everything that was done stays done when the demo is repeated.
"""

import logging
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
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.auth.models import Group
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from accounts.models import Org, User
from connectors import circuit_breaker
from connectors.configuring import create_connection
from connectors.errors import ConnectorError
from connectors.models import ErpConnection
from connectors.port import ConfigError
from exports.connections import change_config
from exports.models import ErpAck, ErpExport
from exports.pushing.push import push_order, retry_order
from kernel.errors import RuleViolation
from orders.approval import approve
from orders.models import DraftOrder
from simulator.demo_orders import correct_customer, demo_orders, demo_script
from simulator.erp import ErpSimulator
from simulator.playground import CONNECTOR, playground, sftp_server

if TYPE_CHECKING:
    from simulator.sftp_server import SftpServer

_WAIT_SECONDS = 60


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
        # People read what it prints; the log would come in between.
        logging.getLogger().setLevel(logging.WARNING)
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
            orders = demo_orders(org)
            self._push(orders, approver)
            log = folder / "worker.log"
            worker = stack.enter_context(_process("worker", log=log))
            self._wait(orders, worker, log)
            if any(_was_refused(export) for export in _exports(orders)):
                self._push(orders, approver)
                self._wait(orders, worker, log)
            self._show(orders)
            self._verify(orders, server, erp)
            if options["serve"]:
                self._serve(options["port"])
        self.stdout.write(_summary(orders))

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
        report = circuit_breaker.run_test(connection)
        self.stdout.write(f"\nConnection test of {connection}")
        for step in report.steps:
            self.stdout.write(f"  {step.outcome:8}{step.name:22}{step.note}".rstrip())
        if report.error:
            raise CommandError(f"{report.error.code}: {report.error.message}")

    def _push(self, orders: list[DraftOrder], approver: User) -> None:
        """Approve and push orders as far as that has not been done; correct what was refused."""
        status = DraftOrder.Status
        for order in orders:
            order.refresh_from_db()
            try:
                if order.status == status.ERROR and _was_refused(refused := _latest(order)):
                    self.stdout.write(f"\nThe ERP refused {order}. {_sentence(refused.error_json)}")
                    correct_customer(order, actor=approver)
                    self.stdout.write(f"Correcting the customer of {order}, pushing it again")
                    order.refresh_from_db()
                if order.status in (status.NEEDS_REVIEW, status.READY):
                    order = approve(order.id, actor=approver, confirm_warnings=True)
                if order.status == status.APPROVED:
                    push_order(order.id, actor=approver)
                elif order.status == status.ERROR:
                    retry_order(order.id, actor=approver)
            except RuleViolation as e:
                raise CommandError(f"{order}: {e.message}") from e

    def _wait(self, orders: list[DraftOrder], worker: subprocess.Popen[bytes], log: Path) -> None:
        """Show the progress until the ERP has answered. Raises CommandError: what is stuck."""
        ends = time.monotonic() + _WAIT_SECONDS
        shown = None
        self.stdout.write("")
        while True:
            exports = _exports(orders)
            sent = sum(export.sent_at is not None for export in exports)
            accepted = sum(export.status == ErpExport.Status.ACKED for export in exports)
            refused = sum(_was_refused(export) for export in exports)
            progress = f"{sent} orders sent, {accepted} acknowledged, {refused} refused"
            if progress != shown:
                shown = progress
                self.stdout.write(progress)
            if accepted + refused == len(orders):
                return
            if time.monotonic() > ends or worker.poll() is not None:
                break
            time.sleep(0.2)
            if sent == len(orders):
                # The worker asks for answers, too, but it takes its time.
                call_command("poll_acks", stdout=StringIO())
        for export in exports:
            if export.status != ErpExport.Status.ACKED and not _was_refused(export):
                self.stderr.write(f"stuck: {export.draft_order}: {_why_stuck(export)}")
        if worker.poll() is not None:
            raise CommandError(f"The worker ended by itself; see {log}.")
        raise CommandError(f"Not all orders were answered within {_WAIT_SECONDS} s; see {log}.")

    def _show(self, orders: list[DraftOrder]) -> None:
        rows = [("order", "customer", "lines", "export", "answer", "remote file")]
        for order in orders:
            order.refresh_from_db()
            rows += [
                (
                    order.external_order_number,
                    order.name_of_customer,
                    str(order.lines.count()),
                    export.status,
                    export.erp_order_id or _sentence(export.error_json),
                    export.dropzone_path or "",
                )
                for export in order.exports.order_by("created_at")
            ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        self.stdout.write("")
        for row in rows:
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            self.stdout.write("  ".join(cells).rstrip())
        self.stdout.write("")

    def _verify(self, orders: list[DraftOrder], server: "SftpServer", erp: ErpSimulator) -> None:
        """Look at what the ERP took: each file once and whole, and nothing of ours left over."""
        taken = Counter((order.filename, order.sha256) for order in erp.orders)
        for export in ErpExport.objects.filter(draft_order__in=orders, sent_at__isnull=False):
            if (copies := taken[export.filename, export.payload_sha256]) != 1:
                raise CommandError(f"{export.filename}: the ERP took it {copies} times.")
        if leftovers := [path.name for path in server.exports.iterdir()]:
            raise CommandError(f"Files are left in the dropzone: {', '.join(leftovers)}")
        for export in _exports(orders):
            if _was_refused(export):
                raise CommandError(
                    f"The ERP refused {export.draft_order}. {_sentence(export.error_json)}"
                )

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
        quiet = {**os.environ, "LOG_LEVEL": "WARNING"}
        web = subprocess.Popen([sys.executable, *command, "--log-level", "warning"], env=quiet)
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
    return [_latest(order) for order in orders]


def _latest(order: DraftOrder) -> ErpExport:
    return order.exports.select_related("draft_order", "erp_connection").latest("created_at")


def _was_refused(export: ErpExport) -> bool:
    """Whether it failed by the ERP's answer."""
    is_failed = export.status == ErpExport.Status.FAILED
    return is_failed and export.acks.filter(classification=ErpAck.Classification.APPLIED).exists()


def _why_stuck(export: ErpExport) -> str:
    connection = export.erp_connection
    known = [
        export.status,
        f"connection paused: {connection.pause_reason}" if connection.is_paused else "",
        _sentence(export.error_json),
        _sentence(connection.last_error),
    ]
    return "; ".join(filter(None, known))


def _sentence(error: dict[str, Any] | None) -> str:
    return f"{error['code']}: {error['message']}" if error else ""


def _summary(orders: list[DraftOrder]) -> str:
    approved = sum(order.approved_at is not None for order in orders)
    histories = [list(order.exports.order_by("created_at")) for order in orders]
    sent = sum(any(export.sent_at for export in history) for history in histories)
    accepted = [history[-1].status == ErpExport.Status.ACKED for history in histories]
    refused = [any(map(_was_refused, history)) for history in histories]
    corrected = sum(map(all, zip(accepted, refused, strict=True)))
    return (
        f"demo: {approved} orders approved, {sent} sent, {sum(accepted)} acknowledged, "
        f"{sum(refused)} refused by the ERP, {corrected} corrected and accepted"
    )

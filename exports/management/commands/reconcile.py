"""Reconcile the ledger with dropzones and archive after a restore."""

from argparse import ArgumentParser
from collections.abc import Sequence
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db.models import Q

from connectors import ownership
from connectors.errors import ConnectorError
from connectors.models import ErpConnection
from exports.models import ErpExport
from exports.resolution import reconciliation
from exports.resolution.reconciliation import Findings

_NAMED = 20


class Command(BaseCommand):
    help = (
        "Compare the ledger with the dropzones and the archive; with --apply, correct the ledger."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--apply", action="store_true", help="write what was found into the ledger"
        )
        parser.add_argument(
            "--send-untraced",
            action="store_true",
            help="send exports without a trace instead of leaving them to a person",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        is_applied = options["apply"]
        if is_applied and not ownership.denial_reason():
            raise CommandError(
                "This installation delivers from this database, so what lies in the dropzones "
                "changes meanwhile. Start it with another DELIVERY_INSTANCE first."
            )
        in_use = ErpConnection.objects.filter(
            Q(active=True)
            | Q(exports__status__in=[ErpExport.Status.PENDING, ErpExport.Status.SENT])
        )
        failed = False
        for connection in in_use.select_related("org").order_by("org__name", "id").distinct():
            self.stdout.write(f"{connection}")
            try:
                with connection.connector.open(connection.parse_config()) as session:
                    findings = reconciliation.look(connection, session)
                    self._tell_all(findings)
                    if is_applied:
                        reconciliation.apply(
                            connection,
                            session,
                            findings,
                            sends_untraced=options["send_untraced"],
                        )
            except ConnectorError as e:
                failed = True
                self.stdout.write(f"  not compared: {e.code}: {e.message}")
        try:
            unknown = list(reconciliation.unknown_documents())
        except ConnectorError as e:
            failed = True
            self.stdout.write(f"Archive\n  not compared: {e.code}: {e.message}")
        else:
            self.stdout.write("Archive")
            self._tell("of exports that the ledger does not know", unknown)
        self.stdout.write("The ledger was mended." if is_applied else "Nothing was changed.")
        if failed:
            raise CommandError("Not everything could be compared.")

    def _tell_all(self, findings: Findings) -> None:
        for what, things in (
            ("sent: the file lies in the export folder", findings.lying),
            ("sent: the ERP has answered", findings.answered),
            ("perhaps sent: there is no trace of it", findings.untraced),
            ("not sent: another file lies under its name", findings.foreign),
            ("answers that do not count yet", sorted(file.path for file, _ in findings.put_away)),
            ("files that the ledger does not know", findings.unknown),
        ):
            self._tell(what, things)

    def _tell(self, what: str, things: Sequence[object]) -> None:
        if things:
            self.stdout.write(f"  {len(things)} {what}")
        for thing in things[:_NAMED]:
            self.stdout.write(f"    {thing}")
        if len(things) > _NAMED:
            self.stdout.write(f"    and {len(things) - _NAMED} more")

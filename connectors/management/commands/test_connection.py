"""Test a connection in the foreground, step by step."""

from argparse import ArgumentParser
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from connectors import circuit_breaker
from connectors.models import ErpConnection
from connectors.ownership import OtherInstance


class Command(BaseCommand):
    help = "Test a connection as a delivery uses it. A passed test ends a pause by the system."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("connection", type=UUID, metavar="ID")

    def handle(self, *args: Any, **options: Any) -> None:
        connection = ErpConnection.objects.filter(id=options["connection"]).first()
        if connection is None:
            raise CommandError(f"There is no connection {options['connection']}.")
        try:
            report = circuit_breaker.run_test(connection)
        except OtherInstance as e:
            raise CommandError(str(e)) from e
        for step in report.steps:
            line = f"{step.outcome:8}{step.milliseconds:6} ms  {step.name:18}{step.note}"
            self.stdout.write(line.rstrip())
        if report.error:
            spec = report.error.spec
            raise CommandError(f"{report.error.code}: {spec.action} ({spec.owner})")
        connection.refresh_from_db()
        if connection.is_paused:
            self.stdout.write(f"The connection stays paused: {connection.pause_reason}")

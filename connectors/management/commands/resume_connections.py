"""Resume the connections that were paused for one reason, and no others."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from connectors import circuit_breaker
from connectors.models import ErpConnection


class Command(BaseCommand):
    help = "Resume the connections that a person has paused for a reason, and no others."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--reason", required=True, help="as it was given when they were paused")

    def handle(self, *args: Any, **options: Any) -> None:
        reason = options["reason"].strip()
        paused = ErpConnection.objects.filter(pause_text=reason, paused_by__isnull=False)
        connections = list(paused.select_related("org").order_by("org__name", "id"))
        if not connections:
            raise CommandError("No connection is paused for that reason.")
        for connection in connections:
            is_running = circuit_breaker.resume(connection.id)
            said = "resumed" if is_running else "not resumed: it waits for its test to pass"
            self.stdout.write(f"{connection}: {said}")

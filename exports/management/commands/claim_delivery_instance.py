"""Let this installation deliver from a database that was restored or copied."""

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from connectors import ownership
from connectors.models import ErpConnection
from exports.models import ErpExport


class Command(BaseCommand):
    help = "Let this installation deliver from a database that was restored or copied."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--confirm", metavar="NAME", help="the value of DELIVERY_INSTANCE, instead of typing it"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        name = settings.DELIVERY_INSTANCE
        denial_reason = ownership.denial_reason()
        if not denial_reason:
            self.stdout.write(f"This database belongs to “{name}” already.")
            return
        self.stdout.write(denial_reason)
        waiting = ErpExport.objects.filter(status=ErpExport.Status.PENDING)
        running = ErpConnection.objects.filter(paused_at=None)
        self.stdout.write(
            f"Once “{name}” has it, {waiting.filter(erp_connection__in=running).count()} waiting "
            f"exports are sent at once, on {running.count()} connections that are not paused. "
            "The ERP gets twice what was sent after the backup was made, or what another "
            "installation sends from this data, unless reconcile was run."
        )
        confirmed = options["confirm"] or input(f"Type {name} to go on: ")
        if confirmed != name:
            raise CommandError("Not confirmed: nothing was changed.")
        ownership.claim()
        self.stdout.write(f"This database belongs to “{name}” now. Workers go on by themselves.")

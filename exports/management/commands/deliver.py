"""Deliver, archive and clean up once, in the foreground."""

from argparse import ArgumentParser
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from connectors import ownership
from connectors.models import ErpConnection
from exports.delivery import archive, cleanup, protocol
from exports.delivery.dispatch import due_connections


class Command(BaseCommand):
    help = "Deliver what is due, archive and tidy, once and in the foreground."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--connection", type=UUID, metavar="ID", help="only this connection")

    def handle(self, *args: Any, **options: Any) -> None:
        if denial_reason := ownership.denial_reason():
            raise CommandError(denial_reason)
        connections = due_connections()
        if only := options["connection"]:
            chosen = ErpConnection.objects.filter(id=only).first()
            if chosen is None:
                raise CommandError(f"There is no connection {only}.")
            if chosen.is_paused:
                raise CommandError(f"{chosen} is paused: {chosen.pause_reason}. Resume it first.")
            connections = connections.filter(id=only)
        failed = False
        for connection in connections:
            summary = protocol.deliver(connection.id)
            if summary.is_busy:
                self.stdout.write(f"{connection}: a worker is delivering right now")
                continue
            self.stdout.write(f"{connection}: {summary.sent} sent")
            for code, count in summary.errors.items():
                failed = True
                self.stdout.write(f"{connection}: {count} x {code}")
        self.stdout.write(f"archived {archive.archive_pending()}")
        if not only:
            self.stdout.write(f"given up {cleanup.give_up()}, cleaned up {cleanup.clean_up()}")
        if failed:
            raise CommandError("Not everything could be delivered; see the exports for details.")

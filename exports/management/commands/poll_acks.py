"""Poll the ack folders once, in the foreground."""

from argparse import ArgumentParser
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from connectors import circuit_breaker, ownership
from connectors.models import ErpConnection
from exports.acks import poller


class Command(BaseCommand):
    help = "Read new acks once, in the foreground, and print what they were."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--connection", type=UUID, metavar="ID", help="only this connection")

    def handle(self, *args: Any, **options: Any) -> None:
        if denial_reason := ownership.denial_reason():
            raise CommandError(denial_reason)
        connections = ErpConnection.objects.select_related("org").order_by("org__name")
        if only := options["connection"]:
            connections = connections.filter(id=only)
            if not connections:
                raise CommandError(f"There is no connection {only}.")
        failed = [connection for connection in connections if not self._poll(connection)]
        if failed:
            raise CommandError("Not every ack folder could be read; see the connections.")

    def _poll(self, connection: ErpConnection) -> bool:
        if not circuit_breaker.may_read(connection):
            reason = connection.pause_reason or "failing; it is tried again later"
            self.stdout.write(f"{connection}: not read: {reason}")
            return True
        summary = poller.poll(connection.id)
        if summary.is_busy:
            self.stdout.write(f"{connection}: a worker is serving it right now")
            return True
        counts = {
            **{
                classification.lower(): count
                for classification, count in summary.classifications.items()
            },
            "moved": summary.moved,
            "picked up": summary.picked_up,
            "named almost like an ack": summary.near_misses,
            "not ours": summary.foreign,
        }
        told = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
        self.stdout.write(f"{connection}: {told or 'nothing new'}")
        for code, count in summary.errors.items():
            self.stdout.write(f"{connection}: {count} x {code}")
        return not summary.errors

"""Fail unless the worker of this host is alive: for a container's HEALTHCHECK."""

import socket
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import Error as DatabaseFailure

from exports.delivery import heartbeat


class Command(BaseCommand):
    help = "Fail unless a worker on this host has sent a heartbeat lately."
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:
        host = socket.gethostname()
        try:
            alive = heartbeat.alive().filter(host=host).count()
        except DatabaseFailure as e:
            raise CommandError(f"The database does not answer: {type(e).__name__}.") from e
        if not alive:
            raise CommandError(f"No worker on {host} is alive.")
        self.stdout.write(f"{alive} alive on {host}")

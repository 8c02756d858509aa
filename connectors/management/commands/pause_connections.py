"""Pause the deliveries of all connections, or of one organisation's."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.models import User
from connectors import circuit_breaker
from connectors.models import ErpConnection


class Command(BaseCommand):
    help = "Stop deliveries. Exports wait, acks are still read, and a passed test does not resume."

    def add_arguments(self, parser: ArgumentParser) -> None:
        which = parser.add_mutually_exclusive_group(required=True)
        which.add_argument("--all", action="store_true", help="those of all organisations")
        which.add_argument("--org", metavar="SLUG", help="those of one organisation")
        parser.add_argument("--reason", required=True, help="what people are told")
        parser.add_argument("--user", required=True, metavar="USERNAME", help="who says so")

    def handle(self, *args: Any, **options: Any) -> None:
        user = User.objects.filter(username=options["user"]).first()
        if user is None:
            raise CommandError(f"There is no user {options['user']}.")
        reason = options["reason"].strip()
        if not reason:
            raise CommandError("--reason is empty.")
        connections = ErpConnection.objects.select_related("org").order_by("org__name", "id")
        if org := options["org"]:
            connections = connections.filter(org__slug=org)
            if not connections:
                raise CommandError(f"The organisation {org} has no connections.")
        for connection in connections:
            is_new = circuit_breaker.pause(connection.id, reason=reason, actor=user)
            said = "paused" if is_new else "a person had paused it already"
            self.stdout.write(f"{connection}: {said}")

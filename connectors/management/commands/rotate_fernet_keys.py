"""Encrypt all secrets with the first of FERNET_KEYS, so that the others can be removed."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from connectors import rotation


class Command(BaseCommand):
    help = "Encrypt all stored secrets with the first of FERNET_KEYS; may be repeated."

    def handle(self, *args: Any, **options: Any) -> None:
        summary = rotation.rotate()
        self.stdout.write(
            f"{summary.rotated} encrypted anew, {summary.current} were so already, "
            f"{len(summary.unreadable)} unreadable"
        )
        for name in summary.unreadable:
            self.stdout.write(f"unreadable: {name}")
        if summary.unreadable:
            raise CommandError(
                "No key in FERNET_KEYS opens these. Add the key they were encrypted with and run "
                "this again, or enter these configurations anew."
            )

"""Say how an ack file would be understood, by its name and content. Needs no database."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from connectors import registry
from connectors.port import MalformedAck


class Command(BaseCommand):
    help = "Show how an ack file would be read; fails if it is malformed."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, metavar="FILE")
        types = list(registry.CONNECTORS)
        parser.add_argument("--connector", choices=types, default=types[0], metavar="TYPE")

    def handle(self, *args: Any, **options: Any) -> None:
        path: Path = options["file"]
        connector = registry.get_connector(options["connector"])
        try:
            with path.open("rb") as file:
                content = file.read(connector.ack_size_limit + 1)
        except OSError as e:
            raise CommandError(f"The file cannot be read: {e.strerror}.") from e
        if subject := connector.ack_subject(path.name):
            self.stdout.write(f"Name: an ack for {subject.export_filename}")
        found = connector.read_ack(path.name, content)
        if isinstance(found, MalformedAck):
            raise CommandError(f"Malformed, {found.code}: {found.message}")
        self.stdout.write("Content: accepted" if found.is_accepted else "Content: refused")
        for name in ("erp_order_id", "error_code", "message", "processed_at"):
            value = getattr(found, name)
            # Escaped: an ack could hold control characters for the terminal.
            shown = repr(value) if isinstance(value, str) else value
            self.stdout.write(f"  {name}: {shown or 'none'}")

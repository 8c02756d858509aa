"""Say what would be made of an ERP's answer, by its name and content. Needs no database."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from connectors.dropzone import acks, naming
from connectors.port import MalformedAck


class Command(BaseCommand):
    help = "Say what would be made of an answer of an ERP; fails if it is malformed."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, metavar="FILE")

    def handle(self, *args: Any, **options: Any) -> None:
        path: Path = options["file"]
        try:
            with path.open("rb") as file:
                content = file.read(acks.MAX_BYTES + 1)
        except OSError as e:
            raise CommandError(f"The file cannot be read: {e.strerror}.") from e
        if subject := naming.parse_ack_filename(path.name):
            self.stdout.write(f"Name: an answer to {subject.export_filename}")
        found = acks.read(path.name, content)
        if isinstance(found, MalformedAck):
            raise CommandError(f"Malformed, {found.code}: {found.message}")
        self.stdout.write("Content: accepted" if found.is_accepted else "Content: refused")
        for name in ("erp_order_id", "error_code", "message", "processed_at"):
            value = getattr(found, name)
            # An answer must not speak to the terminal: its texts are shown escaped.
            shown = repr(value) if isinstance(value, str) else value
            self.stdout.write(f"  {name}: {shown or 'none'}")

"""Print the JSON Schema of a kind of file, as docs/schemas has it."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from connectors.registry import json_schemas


class Command(BaseCommand):
    help = "Print the JSON Schema of exported documents or of answers to them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", choices=json_schemas())

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(json.dumps(json_schemas()[options["name"]], indent=2))

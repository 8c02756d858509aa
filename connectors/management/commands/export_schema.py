"""Print the JSON Schema of exported documents, as docs/schemas has it."""

import json
from typing import Any

from django.core.management.base import BaseCommand

from connectors.dropzone import schemas


class Command(BaseCommand):
    help = "Print the JSON Schema of orderflow_export_json_v1."

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(json.dumps(schemas.json_schema(), indent=2))

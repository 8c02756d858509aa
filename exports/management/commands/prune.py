"""Count what retention would delete; with --apply, delete it now."""

from argparse import ArgumentParser
from collections import Counter
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from connectors.errors import ConnectorError
from connectors.ownership import OtherInstance
from exports import retention


class Command(BaseCommand):
    help = "Count what is older than the retention of its organisation; with --apply, delete it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--apply", action="store_true", help="delete it instead of only counting it"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if not options["apply"]:
            self._tell("due", retention.count_due())
            return
        done: Counter[str] = Counter()
        try:
            while some := retention.prune():
                done += some
        except OtherInstance as e:
            raise CommandError(str(e)) from e
        except ConnectorError as e:
            raise CommandError(f"The archive cannot be asked: {e.log_line}") from e
        finally:
            self._tell("forgotten", done)

    def _tell(self, participle: str, counts: Counter[str]) -> None:
        for what, count in counts.items():
            self.stdout.write(f"{count} {what} {participle}")
        if not counts.total():
            self.stdout.write(f"nothing {participle}")

"""Compare the archive with what the ledger says of it."""

from argparse import ArgumentParser
from collections import Counter
from itertools import islice
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from connectors.errors import ConnectorError
from exports.delivery import archive
from exports.delivery.archive import Condition


class Command(BaseCommand):
    help = "Read every archived object; fails (1) if one is missing or different, (2) if none can."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--after", default="", metavar="KEY", help="go on behind this object")
        parser.add_argument("--limit", type=int, metavar="N", help="end after so many objects")

    def handle(self, *args: Any, **options: Any) -> None:
        found: Counter[Condition] = Counter()
        last = options["after"]
        try:
            for last, condition in islice(archive.verify(after=options["after"]), options["limit"]):
                found[condition] += 1
                if condition is not Condition.WHOLE:
                    self.stdout.write(f"{condition}: {last}")
        except ConnectorError as e:
            raise CommandError(f"The archive cannot be read: {e.log_line}", returncode=2) from e
        finally:
            # Also when it is ended from outside.
            counts = ", ".join(f"{found[condition]} {condition}" for condition in Condition)
            self.stdout.write(f"{found.total()} objects: {counts}")
            if last:
                self.stdout.write(f"To go on from here: --after {last}")
        if found.total() > found[Condition.WHOLE]:
            raise CommandError("Not all of the archive is as the ledger says.")

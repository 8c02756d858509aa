"""Run a worker."""

from argparse import SUPPRESS, ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from worker import cluster
from worker.supervisor import Supervisor


class Command(BaseCommand):
    help = "Deliver exports until told to stop by SIGTERM or SIGINT."

    def add_arguments(self, parser: ArgumentParser) -> None:
        # How the supervisor starts its cluster: the descriptor by which that notices its end.
        parser.add_argument("--tasks", type=int, help=SUPPRESS)

    def handle(self, *args: Any, **options: Any) -> None:
        if options["tasks"] is None:
            Supervisor().run()
        else:
            cluster.run(options["tasks"])

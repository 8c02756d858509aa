"""`make bench`: what the service does in a second, on real servers; one JSON object per line.

ONLY=steps,engine,ledger,fairness,acks,api,dashboard,scale chooses parts. Targets are those of the
design.
"""

import os
from importlib import import_module

import django
from django.conf import settings
from django.core.management import call_command
from django.db import connections

from tests.support.servers import Postgres
from tests.support.servers.postgres import URL_VARIABLE

PARTS = "steps,engine,ledger,fairness,acks,api,dashboard,scale"


def main() -> None:
    with Postgres(is_durable=True) as database:
        os.environ[URL_VARIABLE] = database.url
        os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
        # A line for each request would come between the figures.
        os.environ.setdefault("LOG_LEVEL", "WARNING")
        django.setup()
        # It would note every query.
        settings.DEBUG = False
        call_command("migrate", verbosity=0)
        for part in (os.environ.get("ONLY") or PARTS).split(","):
            # Only now: models need the settings.
            import_module(f"bench.{part}").measure()
        connections.close_all()


if __name__ == "__main__":
    main()

"""`make bench`: measures the service on real servers and prints one JSON object per line.

ONLY=steps,engine,ledger,fairness,acks,api,dashboard,scale chooses parts.
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
        # A log line for each request would mix with the figures.
        os.environ.setdefault("LOG_LEVEL", "WARNING")
        django.setup()
        # With DEBUG, Django would keep every query in memory.
        settings.DEBUG = False
        call_command("migrate", verbosity=0)
        for part in (os.environ.get("ONLY") or PARTS).split(","):
            # Import only now, because models need the settings.
            import_module(f"bench.{part}").measure()
        connections.close_all()


if __name__ == "__main__":
    main()

"""`make chaos`: one JSON line per mode; ends with 1 if an invariant was violated."""

import json
import os
import secrets
import signal
import sys
from pathlib import Path

from chaos.plan import plans
from tests.support.servers import Postgres
from tests.support.servers.process import scratch_folder


def main() -> int:
    chosen = list(plans())
    # SIGTERM ends the run in order, so that the small disk is unmounted.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    is_valid = True
    # A server of its own, even where tests share one: the run stops it and kills its sessions.
    with Postgres() as postgres:
        dropzones = scratch_folder("dropzones")
        _configure(postgres, dropzones)
        import django

        django.setup()
        from django.core.management import call_command

        from chaos.run import run

        call_command("migrate", verbosity=0)
        for plan in chosen:
            report = run(plan, postgres, dropzones)
            sys.stdout.write(json.dumps(report) + "\n")
            sys.stdout.flush()
            is_valid = is_valid and "violated" not in report
    return 0 if is_valid else 1


def _configure(postgres: Postgres, dropzones: Path) -> None:
    """Set the settings of production, for this process and those it starts."""
    os.environ.update(
        DJANGO_SETTINGS_MODULE="orderflow.settings",
        SECRET_KEY=secrets.token_urlsafe(50),
        FERNET_KEYS=secrets.token_urlsafe(32),
        DEBUG="false",
        DATABASE_URL=postgres.url,
        DROPZONE_ROOTS=str(dropzones),
        ARCHIVE_BUCKET="",
        ARCHIVE_ROOT=str(dropzones.parent / "archive"),
        # The servers of a run are on loopback.
        SFTP_DENIED_NETWORKS="169.254.0.0/16",
    )
    os.environ.setdefault("LOG_LEVEL", "CRITICAL")


if __name__ == "__main__":
    sys.exit(main())

"""Make the dumps of an existing installation that tests/servers/test_upgrade.py migrates.

    .venv/bin/python -m tests.data.make_dumps

The service of COMMIT runs with its own commands and services, on SQLite and on PostgreSQL, and
fills its database with a little of everything. A JSON file beside each dump has what the
installation keeps outside of its database: its keys, passwords and tokens, and the files in its
dropzone. All keys were made for these dumps and open nothing else.

Run it again only to add a dump of a newer commit. The git history is needed for that alone.
"""

import base64
import gzip
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.support.servers import postgres

COMMIT = "bb765c3"
DATA = Path(__file__).parent
# A staged file is published only where it was staged, so each restore uses this same folder.
DROPZONES = Path("/tmp/orderflow-upgrade")
PASSWORD = "an-old-password-1"
SETTINGS = {
    "SECRET_KEY": "of-the-dumps-only-0123456789-abcdefghijklmnopqrstuvwxyz-ABCDEFGH",
    "FERNET_KEYS": "of-the-dumps-only-9876543210-zyxwvutsrqponmlkji",
    "DEBUG": "true",
    "DROPZONE_ROOTS": str(DROPZONES),
    "DELIVERY_INSTANCE": "dumped",
    "WEBHOOK_ALLOW_HTTP": "true",
    "LOG_LEVEL": "ERROR",
}


def main() -> None:
    for kind in ("sqlite", "postgresql"):
        shutil.rmtree(DROPZONES, ignore_errors=True)
        with TemporaryDirectory() as scratch:
            tree = Path(scratch) / "tree"
            tree.mkdir()
            archive = subprocess.run(["git", "archive", COMMIT], stdout=subprocess.PIPE, check=True)
            subprocess.run(["tar", "-x", "-C", str(tree)], input=archive.stdout, check=True)
            file = Path(scratch) / "db.sqlite3"
            server = postgres.Postgres()
            if kind == "postgresql":
                server.start()
            url = f"sqlite:///{file}" if kind == "sqlite" else server.url
            env = {
                **os.environ,
                **SETTINGS,
                "DATABASE_URL": url,
                "ARCHIVE_ROOT": f"{scratch}/archive",
                "DJANGO_SETTINGS_MODULE": "orderflow.settings",
            }
            known = _fill(env, tree)
            dump = _sqlite_dump(file) if kind == "sqlite" else _postgresql_dump(url)
            server.stop()
        _write(kind, dump, known)
    shutil.rmtree(DROPZONES)


def _fill(env: dict[str, str], tree: Path) -> dict[str, Any]:
    """Let the service in `tree` fill its database; return what is known outside of it."""
    done = subprocess.run(
        [sys.executable, DATA / "fill.py", DROPZONES, PASSWORD],
        cwd=tree,
        env={**env, "PYTHONPATH": str(tree)},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    known: dict[str, Any] = json.loads(done.stdout)
    return known


def _sqlite_dump(file: Path) -> str:
    database = sqlite3.connect(file)
    dump = "\n".join(database.iterdump())
    database.close()
    return dump


def _postgresql_dump(url: str) -> str:
    options = ("--no-owner", "--no-privileges", "--inserts", "--rows-per-insert=100")
    dump = subprocess.run(
        [postgres.programs() / "pg_dump", *options, "--dbname", url],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    # These are for psql alone.
    return re.sub(r"^\\.*\n", "", dump, flags=re.MULTILINE)


def _write(kind: str, dump: str, known: dict[str, Any]) -> None:
    files = {
        str(path.relative_to(DROPZONES)): base64.b64encode(path.read_bytes()).decode()
        for path in sorted(DROPZONES.rglob("*"))
        if path.is_file()
    }
    name = f"{COMMIT}-{kind}"
    (DATA / f"{name}.sql.gz").write_bytes(gzip.compress(dump.encode(), mtime=0))
    outside = {"settings": SETTINGS, "password": PASSWORD, **known, "files": files}
    (DATA / f"{name}.json").write_text(json.dumps(outside, indent=2) + "\n")


if __name__ == "__main__":
    main()

"""The page about backup and restore: its commands bring a service back that sends nothing twice."""

import os
import re
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from django.db import connection as database

from exports.models import ErpExport
from tests.support.builders import a_connection, a_user, an_org, some_exports
from tests.support.dropzones import dropzone_of
from tests.support.erp import Erp
from tests.support.processes import ROOT, run
from tests.support.servers import S3Server, postgres

_, PAGE = (ROOT / "docs/keys-and-data.md").read_text().split("\n## Backup and restore\n")
BACKUP, *RESTORE = re.findall(r"^ *```bash\n(.*?)```", PAGE, re.DOTALL | re.MULTILINE)
STATES = "SELECT filename, status, erp_order_id, error_json->>'code' FROM erp_export"


def shell(script: str, env: dict[str, str], folder: Path) -> str:
    manage = f'manage.py() {{ {sys.executable} {ROOT}/manage.py "$@"; }}'
    done = subprocess.run(
        ["bash", "-euxo", "pipefail", "-c", f"{manage}\n{script}"],
        cwd=folder,
        env={**env, "PATH": f"{postgres.programs()}:{os.environ['PATH']}"},
        check=False,
        timeout=120,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.django_db(transaction=True)
def test_a_restored_service_sends_nothing_twice(
    request: pytest.FixtureRequest,
    child_env: dict[str, str],
    s3: S3Server,
    bucket: str,
    tmp_path: Path,
) -> None:
    if database.vendor != "postgresql":
        pytest.skip("the page is about PostgreSQL")
    server = child_env["DATABASE_URL"].rpartition("/")[0]
    env = {
        **child_env,
        "SERVER_URL": f"{server}/postgres",
        "DELIVERY_INSTANCE": "production",
        "ARCHIVE_BUCKET": bucket,
        "ARCHIVE_ENDPOINT_URL": s3.endpoint_url,
        "ARCHIVE_ACCESS_KEY": s3.access_key,
        "ARCHIVE_SECRET_KEY": s3.secret_key,
        "ARCHIVE_REGION": "us-east-1",
    }

    def service(*arguments: str) -> None:
        done = run(env, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr

    with dropzone_of("openssh", request) as dropzone:
        erp = Erp(dropzone)

        def answer(export: ErpExport) -> None:
            text = f'{{"status": "ACKED", "erp_order_id": "ERP-{export.filename}"}}'
            (dropzone.acks / f"ack_{export.filename}").write_text(text)

        service("claim_delivery_instance", "--confirm", "production")
        org = an_org()
        ann = a_user(org)
        a_connection(org, dropzone.config)
        (answered_later,) = some_exports(org, ann)
        service("deliver")
        erp.take()
        waiting = some_exports(org, ann, 4, first=1)
        taken_and_answered, answer_unread, taken, lying = waiting

        shell(BACKUP, env, tmp_path)

        # What happens after the backup, and is forgotten.
        service("deliver")
        for export in (taken_and_answered, answer_unread, taken):
            path = dropzone.exports / export.filename
            erp.taken[path.name, path.read_bytes()] += 1
            path.unlink()
        answer(answered_later)
        answer(taken_and_answered)
        service("poll_acks")
        answer(answer_unread)
        (unknown,) = some_exports(org, ann, first=5)
        service("deliver")

        compare, *rest = RESTORE[1:]
        try:
            told = shell(RESTORE[0] + compare, env, tmp_path)
            restored = {**env, "DATABASE_URL": f"{server}/orderflow_restored"}
            assert told.endswith(
                "  1 sent: the file lies in the export folder\n"
                f"    {lying.filename}\n"
                "  2 sent: the ERP has answered\n"
                f"    {taken_and_answered.filename}\n"
                f"    {answer_unread.filename}\n"
                "  1 perhaps sent: there is no trace of it\n"
                f"    {taken.filename}\n"
                "  2 answers that do not count yet\n"
                + "".join(
                    f"    processed/ack_{name}\n"
                    for name in sorted([answered_later.filename, taken_and_answered.filename])
                )
                + "  1 files that the ledger does not know\n"
                f"    {unknown.filename}\n"
                "Archive\n"
                "  1 of exports that the ledger does not know\n"
                f"    {unknown.export_storage_key}\n"
                "Nothing was changed.\n"
            )
            shell("\n".join(rest), restored, tmp_path)

            # The service goes on.
            env = restored
            service("deliver")
            service("poll_acks")
            erp.take()
            with psycopg.connect(restored["DATABASE_URL"]) as session:
                states = {name: rest for name, *rest in session.execute(STATES)}
        finally:
            with psycopg.connect(f"{server}/postgres", autocommit=True) as session:
                session.execute("DROP DATABASE IF EXISTS orderflow_restored WITH (FORCE)")

        def acked(export: ErpExport) -> list[str | None]:
            return ["ACKED", f"ERP-{export.filename}", None]

        assert states == {
            answered_later.filename: acked(answered_later),
            taken_and_answered.filename: acked(taken_and_answered),
            answer_unread.filename: acked(answer_unread),
            taken.filename: ["PENDING", None, "UNTRACED"],
            lying.filename: ["SENT", None, None],
        }
        assert set(erp.taken.values()) == {1}
        assert len(erp.taken) == 6

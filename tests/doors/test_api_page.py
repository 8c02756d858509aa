"""The page about the API: every command on it works, in its order, against the running service."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.contrib.auth.models import Group
from pytest_django.live_server_helper import LiveServer

from accounts.models import User
from exports.models import Batch, ErpExport
from simulator.erp import ErpSimulator
from tests.support.builders import a_connection, an_org
from tests.support.processes import ROOT, worker

PAGE = (ROOT / "docs/api.md").read_text()
BLOCKS = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.django_db(transaction=True)
def test_the_walk_through_works(
    live_server: LiveServer,
    child_env: dict[str, str],
    dropzone_root: Path,
    tmp_path: Path,
    curl_and_jq: None,
) -> None:
    # What `make run` has set up.
    org = an_org("acme")
    approver = User.objects.create(username="approver", email="approver@acme.example")
    approver.groups.add(Group.objects.get(name="Approver"))
    org.users.add(approver)
    folders = {name: dropzone_root / name for name in ("exports", "acks")}
    for folder in folders.values():
        folder.mkdir()
    paths = {f"{name.removesuffix('s')}_path": str(folder) for name, folder in folders.items()}
    a_connection(org, {"mode": "filesystem", **paths})

    script = "\n".join(["set -euxo pipefail", *BLOCKS])
    script = script.replace("http://127.0.0.1:8000", live_server.url)
    script = script.replace(".venv/bin/python manage.py", f"{sys.executable} {ROOT}/manage.py")
    env = child_env | {"ACK_POLL_INTERVAL_SECONDS": "1"}
    with ErpSimulator(**folders), worker(env):
        done = subprocess.run(
            ["bash"],
            check=False,
            input=script,
            cwd=tmp_path,
            env=env | {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]},
            timeout=120,
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (Batch.objects.get().action, ErpExport.objects.count()) == ("push", 4)
    for shown in (
        '"erp_order_id": "',
        '"code": "LIVE_EXPORT"',
        '"pointer": "/lines/0/qty"',
        '"pointer": "/total"',
        '"precondition_failed"',
        '"eligible": 3',
        '"done": 3',
        '"seen": 4',
    ):
        assert shown in done.stdout, (shown, done.stdout)

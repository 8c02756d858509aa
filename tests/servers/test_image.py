"""The images, run as compose.yaml runs them: read-only and without rights.

`make image` builds them and says in IMAGE_ENGINE what to run them with.
"""

import json
import os
import re
import shutil
import subprocess
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.conf import settings

from connectors.dropzone.connector import DropzoneJsonV1Connector
from exports.models import ErpExport
from tests.support.builders import a_connection, a_user, an_org, some_exports
from tests.support.servers.process import HOST, free_port
from tests.support.waiting import until

ENGINE = os.environ.get("IMAGE_ENGINE", "")
ROOT = Path(__file__).parents[2]
CONFINED = [
    "--network=host",
    "--read-only",
    "--tmpfs=/tmp",
    "--cap-drop=all",
    "--security-opt=no-new-privileges",
]

pytestmark = pytest.mark.skipif(not ENGINE, reason="run `make image`")


def engine(*arguments: str) -> str:
    return subprocess.run(
        [ENGINE, *arguments], check=True, stdout=subprocess.PIPE, text=True
    ).stdout


@contextmanager
def container(*options: str, image: str = "orderflow", command: str = "") -> Iterator[str]:
    """A container, which has to end well within its grace period when it is told to."""
    name = f"test-{uuid.uuid4().hex}"
    engine("run", "--detach", f"--name={name}", *CONFINED, *options, image, *command.split())
    try:
        yield name
        engine("stop", "--time=40", name)
        assert engine("inspect", "--format={{.State.ExitCode}}", name).strip() == "0"
    finally:
        engine("logs", name)
        engine("rm", "--force", "--volumes", name)


def succeeds(name: str, *command: str) -> bool:
    return subprocess.run([ENGINE, "exec", name, *command], check=False).returncode == 0


@pytest.fixture
def options(child_env: dict[str, str], dropzone_root: Path) -> list[str]:
    dropzone_root.chmod(0o777)
    env = {
        **{name: child_env[name] for name in ("SECRET_KEY", "FERNET_KEYS", "DATABASE_URL")},
        "ALLOWED_HOSTS": "localhost",
        "TRUST_X_FORWARDED_PROTO": "true",
        "TRUSTED_PROXIES": "1",
        "DROPZONE_ROOTS": str(dropzone_root),
        # The database was made by the tests, which run with DEBUG.
        "DELIVERY_INSTANCE": settings.DELIVERY_INSTANCE,
    }
    return [
        f"--volume={dropzone_root}:{dropzone_root}",
        *(f"--env={name}={value}" for name, value in env.items()),
    ]


def test_its_settings_are_fit_for_production(options: list[str], child_env: dict[str, str]) -> None:
    # The web server's role has a limit; the one that owns the tables has none.
    url = f"{child_env['DATABASE_URL']}?options=-cstatement_timeout%3D30s"
    check = "python manage.py check --deploy --fail-level=WARNING --database=default"
    limited = [*options, f"--env=DATABASE_URL={url}"]
    engine("run", "--rm", *CONFINED, *limited, "orderflow", *check.split())


def test_it_runs_as_nobody_who_can_write(options: list[str]) -> None:
    user = engine("run", "--rm", *CONFINED, *options, "orderflow", "id", "--user")
    assert user.strip() == "10001"
    # Without --read-only: what the user may do by himself.
    search = "find / -xdev -writable ! -type l ! -path '/proc/*' ! -path '/dev/*' 2>/dev/null"
    found = engine("run", "--rm", "--network=host", "orderflow", "sh", "-c", f"{search}; true")
    assert set(found.split()) <= {"/app/var", "/tmp", "/var/tmp", "/run/lock"}


def get(path: str) -> Any:
    headers = {"Host": "localhost", "X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.1"}
    return urllib.request.urlopen(
        urllib.request.Request(f"http://127.0.0.1:8000{path}", headers=headers)
    )


def test_web_serves_hashed_files_and_is_healthy(options: list[str]) -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    (test,) = re.findall(r"^HEALTHCHECK .*\n +CMD (\[.*\])$", dockerfile, re.MULTILINE)
    with container(*options) as name:
        until(lambda: succeeds(name, *json.loads(test)))
        page = get("/admin/login/").read().decode()
        (style,) = re.findall(r'href="(/static/admin/css/base\.[0-9a-f]{12}\.css)"', page)
        assert "immutable" in get(style).headers["Cache-Control"]


def test_the_worker_delivers_and_is_healthy(options: list[str], dropzone_root: Path) -> None:
    org = an_org()
    a_connection(org, {"mode": "filesystem", "export_path": str(dropzone_root)})
    with container(*options, command="python manage.py worker") as name:
        until(lambda: succeeds(name, "python", "manage.py", "worker_health"))
        (export,) = some_exports(org, a_user(org))
        until(ErpExport.objects.filter(status="SENT").exists)
    assert (dropzone_root / export.filename).read_bytes() == bytes(export.payload)


def test_the_service_delivers_to_the_sftp_server(tmp_path: Path) -> None:
    script = tmp_path / "deploy/make-secrets"
    script.parent.mkdir()
    shutil.copy(ROOT / "deploy/make-secrets", script)
    subprocess.run([script], check=True)
    secrets = tmp_path / "secrets"
    port = free_port()
    service = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["sftp"]
    options = [
        "--volume=/srv/dropzone",
        *(f"--volume={secrets / name}:/run/secrets/{name}:ro" for name in service["secrets"]),
        *(f"--cap-add={name}" for name in service["cap_add"]),
    ]
    config = {
        "mode": "sftp",
        "host": HOST,
        "port": port,
        "username": "erp",
        "ssh_key": (secrets / "sftp_client_key").read_text(),
        "host_keys": [(secrets / "sftp_host_key.pub").read_text()],
        "export_path": "/exports",
        "ack_path": "/acks",
    }
    connector = DropzoneJsonV1Connector()
    with container(*options, image="orderflow-sftp", command=f"/usr/sbin/sshd -D -e -p {port}"):
        until(lambda: connector.test(connector.parse_config(config)).success)

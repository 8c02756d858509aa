"""The guide's "Basic Export" snippet with this project's imports, with and without await."""

import asyncio
import json
import textwrap
from pathlib import Path
from typing import Any

import pytest

from exports.pushing.snapshots import order_snapshot, org_snapshot
from tests.support.builders import a_user, an_approved_order, an_org
from tests.support.dropzones import openssh_config
from tests.support.servers import OpenSSHServer

SNIPPET = """
from connectors.dropzone.connector import DropzoneJsonV1Connector
from connectors.storage import DjangoObjectStorage

# Initialize connector
storage = DjangoObjectStorage()
connector = DropzoneJsonV1Connector(storage)

# Export draft order
result = connector.export(draft_order, org, config)

if result.success:
    print(f"Export stored at: {result.export_storage_key}")
    print(f"Dropzone path: {result.connector_metadata.dropzone_path}")
else:
    print(f"Export failed: {result.error_message}")
"""


# As the guide has it, within a coroutine.
AWAITED = "async def main():\n" + textwrap.indent(
    SNIPPET.replace("connector.export(", "await connector.aexport(") + "return result\n", "    "
)


def given(config: dict[str, Any]) -> dict[str, Any]:
    org = an_org()
    order = an_approved_order(org, a_user(org))
    return {"draft_order": order_snapshot(order), "org": org_snapshot(org), "config": config}


def run_snippet(config: dict[str, Any]) -> Any:
    names = given(config)
    exec(SNIPPET, names)
    return names["result"]


pytestmark = pytest.mark.django_db


def test_the_snippet_on_a_filesystem(
    dropzone_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = {"mode": "filesystem", "export_path": str(dropzone_root), "atomic_write": True}
    result = run_snippet(config)
    (file,) = dropzone_root.iterdir()
    assert f"Dropzone path: {file}" in capsys.readouterr().out
    assert json.loads(file.read_bytes())["org_slug"] == "acme"
    assert result.export_storage_key.startswith("exports/")


def test_the_snippet_over_sftp(openssh: OpenSSHServer, capsys: pytest.CaptureFixture[str]) -> None:
    result = run_snippet(openssh_config(openssh, atomic_write=True))
    assert result.success
    (file,) = (openssh.root / "exports").iterdir()
    assert str(file) == result.connector_metadata.dropzone_path


def test_the_snippet_with_await(dropzone_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = {"mode": "filesystem", "export_path": str(dropzone_root), "atomic_write": True}
    names = given(config)
    exec(AWAITED, names)
    assert asyncio.run(names["main"]()).success
    (file,) = dropzone_root.iterdir()
    assert f"Dropzone path: {file}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        ({"port": 1}, "CONNECT_REFUSED", "refuses connections"),
        ({"hots": "x"}, "CONFIG_INVALID", "did you mean “host”"),
        ({"export_path": "/nowhere"}, "DIR_MISSING", "/nowhere does not exist"),
        ({"host_keys": []}, "HOST_KEY_UNKNOWN", "not pinned"),
    ],
)
def test_failures_are_reported_not_raised(
    openssh: OpenSSHServer,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, Any],
    code: str,
    message: str,
) -> None:
    result = run_snippet(openssh_config(openssh, **changes))
    assert (result.success, result.error_code) == (False, code)
    assert message in result.error_message
    assert "Export failed: " in capsys.readouterr().out


def test_a_failing_archive_publishes_nothing(dropzone_root: Path, settings: Any) -> None:
    (dropzone_root / "file").write_text("not a folder")
    (dropzone_root / "exports").mkdir()
    settings.STORAGES = {
        **settings.STORAGES,
        "archive": {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": str(dropzone_root / "file")},
        },
    }
    config = {"mode": "filesystem", "export_path": str(dropzone_root / "exports")}
    result = run_snippet(config)
    assert result.error_code == "ARCHIVE_FAILED"
    assert list((dropzone_root / "exports").iterdir()) == []

"""System checks: each dangerous combination of settings is found, with what to do about it."""

import ast
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as real_settings
from django.core.checks import CheckMessage, run_checks
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.db import connection
from django.db.models import Value
from django.test import override_settings

from connectors.models import ErpConnection
from tests.support.builders import a_connection, an_org

ROOT = Path(__file__).parents[2]
LOCMEM = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}


def found(*databases: str) -> dict[str, CheckMessage]:
    return {message.id: message for message in run_checks(databases=databases) if message.id}


@pytest.mark.parametrize(
    ("check_id", "changed"),
    [
        ("orderflow.E001", {"SECRET_KEY": "x7Kw9" * 9}),
        ("orderflow.E001", {"SECRET_KEY": "abcd" * 20}),
        ("orderflow.E002", {"DEBUG": True, "ALLOWED_HOSTS": ["localhost", "orders.example.com"]}),
        ("orderflow.E002", {"DEBUG": True, "ALLOWED_HOSTS": ["*"]}),
        ("orderflow.W001", {"CACHES": LOCMEM}),
        ("connectors.E001", {"FERNET_KEYS": []}),
        ("connectors.E002", {"FERNET_KEYS": ["x7Kw9" * 6]}),
        ("connectors.E002", {"FERNET_KEYS": ["k" * 43]}),
        ("connectors.E002", {"FERNET_KEYS": [real_settings.SECRET_KEY]}),
        ("connectors.E007", {"DELIVERY_INSTANCE": ""}),
        ("connectors.E005", {"SFTP_DENIED_NETWORKS": ["10.0.0.0/8", "10.0.0.1/8"]}),
        ("exports.E003", {"METRICS_TOKEN": "x7Kw9" * 6}),
        ("exports.E001", {"Q_CLUSTER": {**real_settings.Q_CLUSTER, "retry": 1}}),
    ],
)
def test_a_dangerous_setting_is_found(check_id: str, changed: dict[str, Any]) -> None:
    assert check_id not in found()
    with override_settings(**changed):
        assert found()[check_id].hint


def test_every_finding_says_what_to_do() -> None:
    sources = [path.read_text() for path in ROOT.glob("*/checks.py")]
    findings = [
        {keyword.arg for keyword in node.keywords}
        for source in sources
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("Error", "Warning")
    ]
    assert len(findings) > 15
    assert all(given >= {"hint", "id"} for given in findings)


@pytest.mark.parametrize(
    "changed",
    [
        {"DEBUG": True, "ALLOWED_HOSTS": ["localhost", ".localhost", "127.0.0.1", "[::1]"]},
        {"DEBUG": False, "ALLOWED_HOSTS": ["orders.example.com"]},
        {"DEBUG": True, "ALLOWED_HOSTS": [], "CACHES": LOCMEM},
    ],
)
def test_development_and_production_are_let_be(changed: dict[str, Any]) -> None:
    with override_settings(**changed):
        assert found() == {}


@pytest.fixture
def in_a_folder(db: None, dropzone_root: Path) -> ErpConnection:
    return a_connection(an_org(), {"mode": "filesystem", "export_path": str(dropzone_root)})


def test_a_mounted_dropzone_without_roots_is_found(
    in_a_folder: ErpConnection, settings: Any
) -> None:
    assert found("default") == {}
    settings.DROPZONE_ROOTS = []
    assert str(in_a_folder) in found("default")["connectors.E006"].msg
    with pytest.raises(SystemCheckError, match=r"connectors\.E006"):
        call_command("check", databases=["default"])


def test_only_a_mounted_dropzone_in_use_needs_roots(
    in_a_folder: ErpConnection, settings: Any
) -> None:
    settings.DROPZONE_ROOTS = []
    ErpConnection.objects.update(active=False)
    assert found("default") == {}
    # One that cannot be decrypted must not keep the others from being checked.
    ErpConnection.objects.update(active=True, config_encrypted=Value("garbage"))
    assert found("default") == {}


@pytest.mark.django_db
def test_a_database_without_tables_has_no_mounted_dropzones(settings: Any) -> None:
    settings.DROPZONE_ROOTS = []
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE erp_connection RENAME TO away")
    assert found("default") == {}


@pytest.mark.django_db
def test_a_database_that_forgets_what_was_committed_is_found() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("only PostgreSQL has synchronous_commit")
    assert found("default") == {}
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL synchronous_commit = off")
    assert "exports.E002" in found("default")

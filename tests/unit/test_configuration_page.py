"""The page about the configuration names what the settings read and what the checks find."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from orderflow.settings import env

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/configuration.md").read_text()
ROWS = dict(re.findall(r"^\| `([A-Z_]+)` \| (.*?) \|", PAGE, re.MULTILINE))
SETTINGS = ast.parse((ROOT / "orderflow/settings.py").read_text())


def variables() -> dict[str, str | None]:
    """Each variable that the settings read, and its default as the page should have it.

    The default is None if the settings compute it.
    """
    found: dict[str, str | None] = {}
    for node in ast.walk(SETTINGS):
        match node:
            case ast.Call(
                func=ast.Attribute(value=ast.Name("env")),
                args=[ast.Constant(str(name))],
                keywords=[ast.keyword("default", default)],
            ):
                found[name] = as_written(default)
            case ast.Call(func=ast.Name("required"), args=[ast.Constant(str(name))]):
                found[name] = "required"
    return found


def as_written(default: ast.expr) -> str | None:
    match default:
        case ast.Constant("") | ast.List(elts=[]):
            return "none"
        case ast.Constant(value):
            return f"`{str(value).lower() if isinstance(value, bool) else value}`"
    return None


def test_the_page_has_a_row_for_each_variable_and_no_other() -> None:
    assert set(ROWS) == set(variables())


def test_the_page_tells_the_defaults() -> None:
    told = {name: ROWS[name] for name, default in variables().items() if default}
    assert told == {name: default for name, default in variables().items() if default}


def test_the_settings_read_the_environment_in_no_other_way() -> None:
    uses = [node for node in ast.walk(SETTINGS) if isinstance(node, ast.Name) and node.id == "env"]
    required = [default for default in variables().values() if default == "required"]
    # Beside those: its own making, and the one within `required`.
    assert len(uses) == len(variables()) - len(required) + 2
    assert "environ[" not in ast.unparse(SETTINGS) and "getenv" not in ast.unparse(SETTINGS)


def test_the_page_names_every_check() -> None:
    sources = "".join(path.read_text() for path in ROOT.glob("*/checks.py"))
    checks = re.findall(r'id="(\w+\.[EW]\d{3})"', sources)
    assert sorted(re.findall(r"`(\w+\.[EW]\d{3})`", PAGE)) == sorted(checks)


def test_a_secret_may_come_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_text("from a file\n")
    monkeypatch.setenv("A_SECRET", "from the environment")
    monkeypatch.setenv("A_SECRET_FILE", str(tmp_path / "key"))
    assert env.str("A_SECRET") == "from a file"


@pytest.mark.parametrize(
    ("name", "value", "denial_reason"),
    [
        ("SECRET_KEY", "", "SECRET_KEY is not set. `make .env` writes"),
        ("FERNET_KEYS", "", "FERNET_KEYS is not set. `make .env` writes"),
        ("WORKERS", "0", "WORKERS must be 1 or more."),
    ],
)
def test_nothing_starts_without_a_key_or_a_worker(
    name: str, value: str, denial_reason: str
) -> None:
    result = subprocess.run(
        [sys.executable, "manage.py", "check"],
        check=False,
        cwd=ROOT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "orderflow.settings", name: value},
        capture_output=True,
        text=True,
    )
    assert result.returncode != 0
    assert denial_reason in result.stderr


def test_what_sftp_may_reach_is_not_opened_to_webhooks() -> None:
    program = "from orderflow.settings import *; print(*WEBHOOK_DENIED_NETWORKS)"
    env = {
        "SECRET_KEY": "x",
        "FERNET_KEYS": "x",
        "SFTP_DENIED_NETWORKS": "10.9.9.0/24",
        "DEBUG": "0",
    }
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, cwd=ROOT, env=env, capture_output=True
    )
    assert {b"127.0.0.0/8", b"169.254.0.0/16", b"10.0.0.0/8"} < set(done.stdout.split())

"""What the service is deployed with: the files of the image, compose.yaml, secrets and units."""

import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from configparser import RawConfigParser
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

from worker.cluster import GRACE_SECONDS

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
UNITS = sorted((ROOT / "deploy/systemd").glob("*.service"))
BIN = Path(sys.executable).parent


def run(*command: str, cwd: Path, **env: str) -> str:
    """What a command of the service says when it knows nothing of this run's environment."""
    env = {"PATH": f"{BIN}:{os.environ['PATH']}", **env}
    done = subprocess.run(command, check=False, cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def image_files(tmp_path: Path) -> Path:
    """The files that .dockerignore lets into the image, and nothing else."""
    patterns = (ROOT / ".dockerignore").read_text().splitlines()
    for name in (pattern[1:] for pattern in patterns if pattern.startswith("!")):
        source, target = ROOT / name, tmp_path / name
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    return tmp_path


def test_the_image_has_all_files_that_the_service_needs(image_files: Path) -> None:
    (collect,) = re.findall(r"^RUN (.* manage\.py collectstatic .*)$", DOCKERFILE, re.MULTILINE)
    run("sh", "-c", collect, cwd=image_files)
    collected = [path.name for path in (image_files / "staticfiles").rglob("*.css")]
    assert any(fnmatch(name, "base.????????????.css") for name in collected)
    keys = {"SECRET_KEY": "x7Kw9" * 12, "FERNET_KEYS": "p3Lm8" * 12}
    run("python", "manage.py", "check", "--fail-level=WARNING", cwd=image_files, **keys)
    load = "from django.template.loader import get_template; get_template('api/docs.html')"
    run("python", "manage.py", "shell", "--command", load, cwd=image_files, **keys)


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    script = tmp_path / "deploy/make-secrets"
    script.parent.mkdir()
    shutil.copy(ROOT / "deploy/make-secrets", script)
    run(str(script), cwd=tmp_path)
    made = {path: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    run(str(script), cwd=tmp_path)
    assert made == {path: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    return tmp_path / "secrets"


def test_all_secrets_of_the_compose_file_are_made(secrets: Path) -> None:
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    for secret in COMPOSE["secrets"].values():
        assert (secrets.parent / secret["file"]).stat().st_size > 50
    assert (secrets / "database_password").read_text() in (secrets / "database_url").read_text()
    assert (secrets / "database_web_password").read_text() in web_url(secrets)


def web_url(secrets: Path) -> str:
    return (secrets / "database_web_url").read_text()


def test_the_web_server_of_the_compose_file_has_the_role_that_postgresql_makes(
    secrets: Path,
) -> None:
    assert web_url(secrets).startswith("postgres://orderflow_web:")
    role = (ROOT / "deploy/postgres/web-role.sql").read_text()
    assert "set web orderflow_web" in role and "set owner orderflow" in role
    services = COMPOSE["services"]
    assert services["web"]["environment"]["DATABASE_URL_FILE"] == "/run/secrets/database_web_url"
    for name in ("worker", "migrate"):
        assert services[name]["environment"]["DATABASE_URL_FILE"] == "/run/secrets/database_url"
        assert "database_web_url" not in services[name]["secrets"]
    assert "./deploy/postgres:/docker-entrypoint-initdb.d:ro" in services["postgres"]["volumes"]
    password = services["postgres"]["environment"]["WEB_PASSWORD_FILE"]
    assert password.removeprefix("/run/secrets/") in services["postgres"]["secrets"]


def test_the_compose_file_has_no_secret_in_it(secrets: Path) -> None:
    named = re.compile("KEY|PASSWORD|SECRET|DATABASE_URL")
    for service in COMPOSE["services"].values():
        for name, value in service.get("environment", {}).items():
            if named.search(name) and name != "ARCHIVE_ACCESS_KEY":
                assert name.endswith("_FILE")
                assert value.removeprefix("/run/secrets/") in service["secrets"]


def test_the_environment_of_the_compose_file_is_fit_for_production(
    secrets: Path, image_files: Path
) -> None:
    env = {
        name: re.sub(r"\$\{\w+:-(.*)\}", r"\1", value).replace("/run/secrets", str(secrets))
        for name, value in COMPOSE["services"]["web"]["environment"].items()
    }
    run("python", "manage.py", "check", "--deploy", "--fail-level=WARNING", cwd=image_files, **env)


def unit(path: Path) -> dict[str, str]:
    parser = RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(path)
    return dict(parser["Service"])


def test_whatever_stops_a_worker_waits_for_its_deliveries() -> None:
    needed = GRACE_SECONDS + 5
    assert float(COMPOSE["services"]["worker"]["stop_grace_period"].removesuffix("s")) > needed
    worker = unit(ROOT / "deploy/systemd/orderflow-worker.service")
    assert worker["KillMode"] == "mixed"
    assert float(worker["TimeoutStopSec"]) > needed


def test_the_unit_starts_the_web_server_as_the_image_does() -> None:
    (command,) = re.findall(r"^CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)
    program, *options = shlex.split(unit(UNITS[0])["ExecStart"])
    expected = yaml.safe_load(command)
    expected[expected.index("--bind=0.0.0.0:8000")] = "--bind=127.0.0.1:8000"
    assert [Path(program).name, *options] == expected


def test_the_memory_of_the_web_server_is_limited_wherever_it_runs() -> None:
    assert COMPOSE["services"]["web"]["mem_limit"].upper() == unit(UNITS[0])["MemoryMax"] == "2G"


def test_systemd_takes_the_units(systemd_analyze: str, tmp_path: Path) -> None:
    for path in UNITS:
        text = path.read_text().replace("/opt/orderflow/.venv/bin", str(BIN))
        (tmp_path / path.name).write_text(text.replace("/opt/orderflow", str(ROOT)))
    units = [str(tmp_path / path.name) for path in UNITS]
    done = subprocess.run(
        [systemd_analyze, "verify", *units], check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    # Points of ten; a unit without any hardening has 9.6.
    command = [systemd_analyze, "security", "--offline=true", "--threshold=20", *units]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

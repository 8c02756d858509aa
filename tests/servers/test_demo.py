"""The demo, run as a person runs it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "orderflow.settings",
        "DATABASE_URL": f"sqlite:///{tmp_path / 'demo.sqlite3'}",
    }


def demo(folder: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, settings.BASE_DIR / "manage.py", "demo", "--folder", folder]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def test_a_repeated_demo_finds_its_orders_sent(tmp_path: Path, env: dict[str, str]) -> None:
    for _ in range(2):
        done = demo(tmp_path, env)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.splitlines()[-1] == (
            "demo: 6 orders approved, 6 sent, 6 acknowledged, "
            "1 refused by the ERP, 1 corrected and accepted"
        )
        assert len(list((tmp_path / "erp/answered").iterdir())) == 7
        assert list((tmp_path / "dropzone/exports").iterdir()) == []


def test_the_demo_keeps_out_of_production(tmp_path: Path, env: dict[str, str]) -> None:
    done = demo(tmp_path, {**env, "DEBUG": "false"})
    assert done.returncode == 1
    assert "development" in done.stderr
    assert not (tmp_path / "demo.sqlite3").exists()

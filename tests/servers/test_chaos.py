"""The chaos run, in short: it holds for the service's protocol, and finds out a wrong one."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.servers import openssh

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(not openssh.available(), reason="no OpenSSH server is installed")


def chaos(**settings: object) -> tuple[int, dict[str, Any]]:
    """Run it in a process of its own: it stops servers and kills what it started."""
    env = os.environ | {"MODE": "posix", **{name: str(value) for name, value in settings.items()}}
    done = subprocess.run(
        [sys.executable, "-m", "chaos"],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


@pytest.mark.parametrize(
    ("orders", "kills"), [(10, 5), pytest.param(100, 80, marks=pytest.mark.long)]
)
def test_no_order_is_lost_or_doubled(orders: int, kills: int) -> None:
    code, report = chaos(ORDERS=orders, KILLS=kills, SECONDS=300)
    assert "violated" not in report
    assert code == 0
    assert report["orders"] >= orders
    assert report["kills"] >= kills


@pytest.mark.long
def test_the_obvious_protocol_is_found_out() -> None:
    code, report = chaos(
        PROTOCOL="obvious", AT="published", CHANCE=0.3, ORDERS=20, KILLS=10, SECONDS=60
    )
    assert code == 1
    assert report["duplicated"] > 0
    assert any(violation.startswith("I1") for violation in report["violated"])

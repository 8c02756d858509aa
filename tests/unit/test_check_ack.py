"""`manage.py check_ack`: what an ERP's programmer runs on a file before the real poller does."""

import os
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from tests.ledger.test_acks_reader import ACK, ERROR, EXPORT, GUIDE_ACK, GUIDE_ERROR


def check(path: Path) -> str:
    printed = StringIO()
    call_command("check_ack", path, stdout=printed)
    return printed.getvalue()


def test_an_acceptance_is_shown(tmp_path: Path) -> None:
    (tmp_path / ACK).write_bytes(GUIDE_ACK)
    assert check(tmp_path / ACK) == (
        f"Name: an ack for {EXPORT}\n"
        "Content: accepted\n"
        "  erp_order_id: 'SO-2025-000123'\n"
        "  error_code: none\n"
        "  message: none\n"
        "  processed_at: 2025-12-26 10:01:00+00:00\n"
    )


def test_a_refusal_is_shown(tmp_path: Path) -> None:
    (tmp_path / ERROR).write_bytes(GUIDE_ERROR)
    assert "Content: refused\n" in check(tmp_path / ERROR)
    assert "  message: 'Unknown customer 4711'\n" in check(tmp_path / ERROR)


def test_texts_do_not_speak_to_the_terminal(tmp_path: Path) -> None:
    (tmp_path / ACK).write_bytes(
        rb'{"status": "ACKED", "message": "\u001b[2J\u009b\u202eM\u00fcller"}'
    )
    assert r"'\x1b[2J\x9b\u202eMüller'" in check(tmp_path / ACK)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (ACK, b"{", "ACK_NOT_JSON: The file must hold one complete JSON value"),
        (ACK, b" " * 2**21, "ACK_TOO_BIG"),
        (f"{ACK}.tmp", GUIDE_ACK, "ACK_NAME: The file name must be ack_ or error_ followed"),
        (os.fsdecode(b"ack_sales_order_\xff.json"), GUIDE_ACK, "ACK_NAME"),
    ],
)
def test_malformed_files_fail(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CommandError, match=message) as raised:
        check(tmp_path / name)
    assert raised.value.returncode == 1


def test_what_is_no_file_fails(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"cannot be read: Is a directory\."):
        check(tmp_path)


def test_it_needs_no_database(tmp_path: Path) -> None:
    (tmp_path / ACK).touch()
    result = subprocess.run(
        [sys.executable, "manage.py", "check_ack", str(tmp_path / ACK)],
        cwd=Path(__file__).parents[2],
        env={
            **os.environ,
            "DATABASE_URL": "postgres://nobody@127.0.0.1:1/nothing",
            "DJANGO_SETTINGS_MODULE": "orderflow.settings",
        },
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 1
    assert result.stderr.endswith("ACK_EMPTY: The file must not be empty.\n")

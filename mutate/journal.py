"""Journals: JSON lines in a file, each written at once, so that a run can go on later."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any


def records(file: Path) -> list[dict[str, Any]]:
    """All records of a journal; a run that was killed may have left half a line."""
    if not file.exists():
        return []
    found = []
    for line in file.read_text().splitlines():
        with suppress(json.JSONDecodeError):
            found.append(json.loads(line))
    return found


def append(file: Path, record: dict[str, Any]) -> None:
    """Add a record."""
    with file.open("a") as journal:
        # The line break first: half a line of a killed run must not spoil this one.
        journal.write("\n" + json.dumps(record))

"""Journals: JSON lines in a file, each written at once, so that a later run can continue."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any


def records(file: Path) -> list[dict[str, Any]]:
    """Return all records of a journal. Half a line, left by a killed run, is skipped."""
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
        # Begin with a line break, because a killed run may have left half a line.
        journal.write("\n" + json.dumps(record))

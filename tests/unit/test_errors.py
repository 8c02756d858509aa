"""The error catalogue: every code says what it means, how to check it and what to do."""

import os
import re

import pytest

from connectors.dropzone import acks
from connectors.errors import CATALOGUE, ConnectorError, Kind
from tests.support.processes import ROOT

RUNBOOK = ROOT / "docs/runbook.md"
KINDS = {
    Kind.REACH: (
        "The server could not be reached",
        "Transient. Counts on the connection: the service tries again after 5 s, doubling to "
        "10 min. Then one export goes first and the others follow.",
    ),
    Kind.FILE: (
        "One file failed",
        "Transient. Counts on the export: the service tries again after 5 s, 30 s, 2 min, 10 min, "
        "30 min, then hourly. Other exports do not wait for it. Errors of acks and of the archive "
        "delay no export.",
    ),
    Kind.DESTINATION: (
        "The connection needs a change",
        "The connection is paused. Its exports show the error and wait until a test passes.",
    ),
    Kind.ORDER: (
        "The export can never succeed",
        "The export fails now and its order shows the reason.",
    ),
    Kind.DECISION: (
        "The outcome is unknown",
        "The export stays pending. The service does not try again until a person decides.",
    ),
}
MALFORMED = """
### Malformed acks

The file is moved to `error/`. *Acks to review* shows it with what is wrong. A file with a foreign
name stays in the folder.

- **Check:** `manage.py check_ack FILE`, with a copy of the file under its own name, says how the
  service reads it.
- **Do** (ERP team): Correct the program that writes the acks and write this ack again. Then dismiss
  the malformed one.

| code | what it says |
| --- | --- |
"""


def section() -> str:
    """The part of the runbook about codes, as the catalogue has it."""
    parts = []
    for kind, (title, meaning) in KINDS.items():
        parts.append(f"\n### {title}\n\n{meaning}\n")
        parts += [
            f"\n#### {code}\n\n{spec.message}\n\n"
            f"- **Check:** {spec.check}\n- **Do** ({spec.owner}): {spec.action}\n"
            for code, spec in CATALOGUE.items()
            if spec.kind is kind
        ]
    return "".join(
        [*parts, MALFORMED, *(f"| `{code}` | {text} |\n" for code, text in acks.MALFORMED.items())]
    )


def test_the_runbook_has_the_catalogue() -> None:
    """`UPDATE_DOCS=1 pytest tests/unit/test_errors.py` rewrites the section."""
    page = RUNBOOK.read_text()
    start, end = page.index("\n### "), page.index("\n## Questions\n")
    if os.environ.get("UPDATE_DOCS"):
        page = page[:start] + section() + page[end:]
        RUNBOOK.write_text(page)
        end = page.index("\n## Questions\n")
    assert page[start:end] == section(), "run: UPDATE_DOCS=1 pytest tests/unit/test_errors.py"


@pytest.mark.parametrize("code", CATALOGUE)
def test_every_error_says_what_happened_what_to_check_and_what_to_do(code: str) -> None:
    shown = ConnectorError(code, detail="secret detail").as_json()
    assert shown["message"].endswith(".") and shown["hint"].endswith(".")
    assert re.search(r"[.?]$", CATALOGUE[code].check)
    assert shown["owner"] in {"operator", "ERP team", "order team", "support"}
    assert "secret detail" not in str(shown)


def test_an_unknown_code_is_a_defect() -> None:
    with pytest.raises(KeyError):
        ConnectorError("NO_SUCH_CODE")

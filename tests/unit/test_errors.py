"""The error catalogue: every code has an owner and something to do, and the page is current."""

import re
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command

from connectors.errors import CATALOGUE, ConnectorError

DOCS = Path(__file__).parents[2] / "docs"
PAGE, RUNBOOK = DOCS / "errors.md", DOCS / "runbook.md"


def test_the_page_is_the_catalogue() -> None:
    printed = StringIO()
    call_command("error_catalogue", stdout=printed)
    assert PAGE.read_text() == printed.getvalue(), "run: manage.py error_catalogue > docs/errors.md"


def test_the_page_says_of_every_code_what_it_means_what_to_look_at_and_what_to_do() -> None:
    told = re.findall(
        r"^### (\w+)\n\n(.+\.)\n\n- \*\*Check:\*\* (.+[.?])\n- \*\*Do\*\* \(.+\): (.+\.)$",
        PAGE.read_text(),
        re.MULTILINE,
    )
    assert {code: (meaning, action) for code, meaning, _, action in told} == {
        code: (spec.message, spec.hint) for code, spec in CATALOGUE.items()
    }


def test_the_runbook_leads_to_every_code() -> None:
    links = re.findall(r"\[(\w+)\]\(errors\.md#(\w+)\)", RUNBOOK.read_text())
    assert set(links) == {(code, code.lower()) for code in CATALOGUE}


@pytest.mark.parametrize("code", CATALOGUE)
def test_every_error_says_what_happened_and_what_to_do(code: str) -> None:
    shown = ConnectorError(code, detail="secret detail").as_json()
    assert shown["message"].endswith(".") and shown["hint"].endswith(".")
    assert shown["owner"]
    assert "secret detail" not in str(shown)


def test_an_unknown_code_is_a_defect() -> None:
    with pytest.raises(KeyError):
        ConnectorError("NO_SUCH_CODE")

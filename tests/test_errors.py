"""The error catalogue: every code has an owner and something to do, and the page is current."""

from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command

from connectors.errors import CATALOGUE, ConnectorError

PAGE = Path(__file__).parent.parent / "docs/errors.md"


def test_the_page_is_the_catalogue() -> None:
    printed = StringIO()
    call_command("error_catalogue", stdout=printed)
    assert PAGE.read_text() == printed.getvalue(), "run: manage.py error_catalogue > docs/errors.md"


@pytest.mark.parametrize("code", CATALOGUE)
def test_every_error_says_what_happened_and_what_to_do(code: str) -> None:
    shown = ConnectorError(code, detail="secret detail").as_json()
    assert shown["message"].endswith(".") and shown["hint"].endswith(".")
    assert shown["owner"]
    assert "secret detail" not in str(shown)


def test_an_unknown_code_is_a_defect() -> None:
    with pytest.raises(KeyError):
        ConnectorError("NO_SUCH_CODE")

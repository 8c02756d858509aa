"""The page of concepts has the words of the code: each status, verdict and outcome; no other."""

import re
from enum import StrEnum

import pytest

from connectors.lease import DURATION
from exports.models import BatchItem, ErpAck, ErpExport
from exports.reporting.outlook import Code
from orders.models import DraftOrder
from tests.invariants import LEGAL
from tests.processes import ROOT

PAGE = (ROOT / "docs/concepts.md").read_text()


def table(first_column: str) -> list[list[str]]:
    """The rows of the table whose first column has this name."""
    found = re.search(rf"^\| {first_column} \|.*\n\|[-| ]+\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    assert found, first_column
    return [[cell.strip() for cell in row[1:-1].split("|")] for row in found[1].splitlines()]


@pytest.mark.parametrize(
    ("first_column", "choices"),
    [
        ("order", DraftOrder.Status),
        ("verdict", ErpAck.Verdict),
        ("outcome", BatchItem.Outcome),
        ("outlook", Code),
    ],
)
def test_the_tables_have_every_value(first_column: str, choices: type[StrEnum]) -> None:
    assert [row[0] for row in table(first_column)] == [choice.value for choice in choices]


def test_an_order_goes_on_to_what_there_is() -> None:
    words = {word for row in table("order") for word in re.findall(r"[A-Z_]{4,}", row[2])}
    assert words == set(DraftOrder.Status.values)


def test_the_transitions_are_the_legal_ones() -> None:
    rows = [(before, after) for before, after, _ in table("from")]
    changes = {pair for pair in LEGAL if pair[0] != pair[1]}
    assert rows[0] == ("", "PENDING")
    assert set(rows[1:]) == changes
    assert len(rows) == len(set(rows))


def test_the_kinds_of_evidence_are_told() -> None:
    told = re.findall(r"\b([A-Z]+): ", PAGE[PAGE.index("**Evidence**") : PAGE.index("**Ack**")])
    assert told == ErpExport.SentEvidence.values


def test_the_lease_lasts_as_long_as_it_says() -> None:
    assert f"for {DURATION.seconds} seconds at a time" in " ".join(PAGE.split())

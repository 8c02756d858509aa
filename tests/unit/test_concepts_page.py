"""The page of concepts has the code's words: each status, classification, outcome; no other."""

import re
from enum import StrEnum
from typing import Any

import pytest

from connectors.lease import DURATION
from exports import lifecycle as export_lifecycle
from exports.models import BatchItem, ErpAck, ErpExport
from exports.reporting.outlook import Code
from orders import lifecycle as order_lifecycle
from orders.lifecycle import Cause
from orders.models import DraftOrder
from tests.support.processes import ROOT

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
        ("export", ErpExport.Status),
        ("classification", ErpAck.Classification),
        ("outcome", BatchItem.Outcome),
        ("outlook", Code),
    ],
)
def test_the_tables_have_every_value(first_column: str, choices: type[StrEnum]) -> None:
    assert [row[0] for row in table(first_column)] == [choice.value for choice in choices]


@pytest.mark.parametrize(
    ("first_column", "lifecycle", "statuses"),
    [
        ("event of an order", order_lifecycle, DraftOrder.Status),
        ("event of an export", export_lifecycle, ErpExport.Status),
    ],
)
def test_the_events_are_those_of_the_lifecycles(
    first_column: str, lifecycle: Any, statuses: type[StrEnum]
) -> None:
    expected = [
        [
            event.value,
            ", ".join(status for status in statuses if status in row.sources),
            row.target or "as before",
            ", ".join(cause.name for cause in Cause if cause in row.causes),
            row.when,
        ]
        for event, row in lifecycle.TRANSITIONS.items()
    ]
    found = table(first_column)
    assert found == expected, "\n".join(f"| {' | '.join(row)} |" for row in expected)


def test_the_kinds_of_evidence_are_told() -> None:
    told = re.findall(r"\b([A-Z]+): ", PAGE[PAGE.index("**Evidence**") : PAGE.index("**Ack**")])
    assert told == ErpExport.SentEvidence.values


def test_the_lease_lasts_as_long_as_it_says() -> None:
    assert f"for {DURATION.seconds} seconds at a time" in " ".join(PAGE.split())

"""Each row of the tables of orders and exports has tests that fail when the row is changed."""

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from django.db import transaction
from django.db.models import Q

import tests.ledger.test_export_lifecycle
import tests.ledger.test_order_lifecycle  # noqa: F401  it registers its tests, as the other one does
from exports import lifecycle as export_lifecycle
from exports.delivery import protocol
from exports.models import ErpExport, ErpExportEvent
from orders import lifecycle as order_lifecycle
from orders.lifecycle import Cause
from orders.models import DraftOrder
from tests.support.lifecycle_rows import NEW, PROOFS, Proof, World

TABLES: Mapping[str, dict[Any, Any]] = {
    "orders": order_lifecycle.TRANSITIONS,
    "exports": export_lifecycle.TRANSITIONS,
}
ROWS = [(table, event) for table, rows in TABLES.items() for event in rows]
STATUSES = {"orders": DraftOrder.Status, "exports": ErpExport.Status}
NEVER = Q(pk=None)
# Changes without any effect, which no test can notice.
SAME = {
    # As in the table, no person may act.
    ("exports", "CONTRADICTED", "caused by SYSTEM"),
    # Only what is not staged is held, and what is held is not staged before its next attempt.
    ("exports", "RELEASED", "requires no certain staged_path"),
    # The clean-up asks for the same first, and while it works only `cleaned_up_at` can change.
    ("exports", "CLEANED_UP", "requires no certain STAGED or UNSTAGED"),
}


def proofs_of(table: str, event: str, source: str | None = None) -> list[Proof]:
    """The tests of a row; of one source of it, those that begin there."""
    of_row = [proof for proof in PROOFS if (proof.table, proof.event) == (table, event)]
    return [proof for proof in of_row if source in (None, proof.source)]


def changes(table: str, event: str) -> Iterator[tuple[str, Any, list[Proof]]]:
    """A row, changed in one thing: what is changed, the row, the tests that may fail."""
    row = TABLES[table][event]
    proofs = proofs_of(table, event)
    outside = [status for status in STATUSES[table] if status not in {row.target, *row.sources}]
    other = next(iter(outside or STATUSES[table]))
    yield "another target", replace(row, target=other), proofs
    if table == "exports" and row.target:
        yield "no target", replace(row, target=None), proofs
    for source in row.sources:
        changed = replace(row, sources=row.sources - {source})
        yield f"not from {source}", changed, proofs_of(table, event, source)
    for cause in row.causes:
        yield f"not caused by {cause.name}", replace(row, causes=row.causes - {cause}), proofs
    for cause in {Cause.PERSON, Cause.SYSTEM} - row.causes:
        yield f"caused by {cause.name}", replace(row, causes=frozenset({cause})), proofs
    for column in row.sets:
        kept = {name: value for name, value in row.sets.items() if name != column}
        yield f"{column} not set", replace(row, sets=kept), proofs
    if table == "orders":
        return
    kind = next(kind for kind in ErpExportEvent.Kind if kind != row.kind)
    yield "another kind", replace(row, kind=kind), proofs
    if row.sources and event != export_lifecycle.Event.CONTRADICTED:
        yield "requires what never holds", replace(row, requires=NEVER), proofs
    if row.requires:
        yield "requires nothing", replace(row, requires=Q()), proofs
    for part, rest in parts(row.requires):
        yield f"requires no certain {part}", replace(row, requires=rest), proofs
    if row.order:
        yield "no change of the order", replace(row, order=None), proofs
    if row.notifies:
        yield "no notification", replace(row, notifies=None), proofs


def parts(condition: Q) -> Iterator[tuple[str, Q]]:
    """The name of each part of a condition that has several, and the others."""
    for part in condition.children if len(condition.children) > 1 else ():
        others = [other for other in condition.children if other is not part]
        name = "STAGED or UNSTAGED" if isinstance(part, Q) else part[0]
        yield name, Q(*others, _connector=condition.connector)


def test_each_row_has_a_test_from_each_of_its_sources() -> None:
    in_tables = {
        (table, str(event), str(source))
        for table, event in ROWS
        for source in TABLES[table][event].sources or {NEW}
    }
    assert {(p.table, p.event, p.source) for p in PROOFS if p.source} == in_tables


def test_each_condition_has_a_test_of_what_it_refuses() -> None:
    with_a_condition = {
        (table, str(event))
        for table, event in ROWS
        if getattr(TABLES[table][event], "requires", None)
    }
    assert {(p.table, p.event) for p in PROOFS if p.source is None} == with_a_condition


@pytest.mark.long
@pytest.mark.django_db
@pytest.mark.parametrize(("table", "event"), ROWS)
def test_a_row_that_is_changed_fails_a_test(
    table: str, event: str, dropzone_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What a changed row keeps from ending is tried no longer than that.
    monkeypatch.setattr(protocol, "RUN_SECONDS", 0.5)
    broken = [p.test.__name__ for p in proofs_of(table, event) if fails(p, dropzone_root)]
    assert broken == [], "fails with the table as it is"
    unseen = []
    for what, row, proofs in changes(table, event):
        with mock.patch.dict(TABLES[table], {event: row}):
            if not any(fails(proof, dropzone_root) for proof in proofs):
                unseen.append(what)
    assert [what for what in unseen if (table, event, what) not in SAME] == []


def fails(proof: Proof, root: Path) -> bool:
    """Whether a test fails, in a world of its own that is then gone."""
    home = root / "world"
    home.mkdir()
    try:
        with transaction.atomic():
            world = World(home)
            try:
                proof.test(world, **proof.arguments)
            except (Exception, pytest.fail.Exception):
                return True
            finally:
                transaction.set_rollback(True)
    finally:
        shutil.rmtree(home)
    return False

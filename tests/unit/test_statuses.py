"""A status is named in one place: elsewhere the code takes it from there, never as a string."""

import ast
from collections.abc import Iterator

from exports.models import ErpExport
from orders.models import DraftOrder
from tests.support.processes import ROOT

STATUSES = {*ErpExport.Status.values, *DraftOrder.Status.values}
PACKAGES = [
    *("accounts", "api", "backoffice", "bench", "chaos", "connectors", "exports", "kernel"),
    *("notifications", "orderflow", "orders", "simulator", "worker"),
]
# What an ERP writes into an ack, the level of a log, and how an item of a batch ends.
OTHER_WORDS = {
    "bench/acks.py",
    "bench/scale.py",
    "connectors/dropzone/acks.py",
    "connectors/dropzone/schemas.py",
    "exports/models/batch.py",
    "orderflow/settings.py",
    "simulator/script.py",
}


def modules() -> Iterator[str]:
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            if "migrations" not in path.parts:
                yield str(path.relative_to(ROOT))


def literals(source: str) -> list[str]:
    """The statuses among the strings of a module, but for the values of enumerations."""
    tree = ast.parse(source)
    values = {
        id(node)
        for enumeration in ast.walk(tree)
        if isinstance(enumeration, ast.ClassDef)
        and any(ast.unparse(base).endswith(("Enum", "Choices")) for base in enumeration.bases)
        for node in ast.walk(enumeration)
    }
    return [
        f"{node.lineno}: {node.value}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and node.value in STATUSES and id(node) not in values
    ]


def test_no_module_spells_a_status() -> None:
    found = {module: literals((ROOT / module).read_text()) for module in modules()}
    assert {module for module, lines in found.items() if lines} == OTHER_WORDS


def test_a_spelled_status_is_found() -> None:
    assert literals('orders.filter(status="PUSHED")') == ["1: PUSHED"]
    assert literals('class Status(TextChoices):\n    PUSHED = "PUSHED"') == []

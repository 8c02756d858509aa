"""The page for ERP integrators: every example on it works."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from connectors.dropzone import acks, document, naming, schemas
from connectors.port import Ack
from tests.unit.test_document import EXPECTED, ORDER, ORG

PAGE = (Path(__file__).parents[2] / "docs/erp-integration.md").read_text()
# Each JSON block follows the paragraph that ends with its file name.
EXAMPLES = re.findall(r"`(\w+\.json)`:?\n\n```json\n(.*?)```", PAGE, re.DOTALL)
NAMES = sorted(set(re.findall(r"`((?:ack|error)_sales_order_[^`…]+)`", PAGE)))
(PYTHON,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
EXPORT = EXAMPLES[0][0]
SCHEMAS = {
    "sales": "orderflow_export_json_v1",
    "ack": "orderflow_ack_v1",
    "error": "orderflow_error_ack_v1",
}


def test_every_example_has_a_name() -> None:
    assert len(EXAMPLES) == PAGE.count("```json") >= 4
    assert len(NAMES) == 4


@pytest.mark.parametrize(("name", "content"), EXAMPLES)
def test_the_examples_are_valid(name: str, content: str) -> None:
    schema = schemas.json_schema(SCHEMAS[name.partition("_")[0]])
    jsonschema.Draft202012Validator(schema).validate(json.loads(content))


@pytest.mark.parametrize(("name", "content"), EXAMPLES[1:])
def test_the_answers_are_understood_in_full(name: str, content: str) -> None:
    found = acks.read(name, content.encode())
    assert isinstance(found, Ack)
    for member in ("erp_order_id", "error_code", "message", "processed_at"):
        assert (getattr(found, member) is None) == (member not in json.loads(content))


@pytest.mark.parametrize("name", NAMES)
def test_the_names_are_understood(name: str) -> None:
    subject = naming.parse_ack_filename(name)
    assert subject and subject.export_filename == EXPORT


def test_the_order_has_the_keys_of_a_real_one() -> None:
    shown, real = json.loads(EXAMPLES[0][1]), json.loads(EXPECTED)
    assert list(shown) == list(real)
    assert list(shown["lines"][0]) == list(real["lines"][0])


@pytest.mark.parametrize("reason", [None, "Unknown customer 4711"])
def test_the_program_takes_orders_and_answers(tmp_path: Path, reason: str | None) -> None:
    folders = {name: tmp_path / name for name in ("exports", "acks", "taken", "done")}
    for folder in folders.values():
        folder.mkdir()
    (folders["exports"] / EXPORT).write_bytes(document.render(ORDER, ORG))
    staged = folders["exports"] / naming.tmp_filename(EXPORT, "0a1b2c3d")
    staged.touch()
    names: dict[str, Any] = {}
    exec(PYTHON, names)

    def book(order: dict[str, Any]) -> str:
        assert order["draft_order_id"] == str(ORDER.id)
        if reason:
            raise ValueError(reason)
        return "SO-2025-000123"

    names["take_orders"](**folders, book=book)
    (file,) = folders["acks"].iterdir()
    found = acks.read(file.name, file.read_bytes())
    assert isinstance(found, Ack)
    assert (found.erp_order_id, found.message) == (None if reason else "SO-2025-000123", reason)
    assert found.is_accepted is (reason is None)
    assert found.processed_at
    assert list(folders["exports"].iterdir()) == [staged]
    assert [path.name for path in folders["done"].iterdir()] == [EXPORT]


def test_its_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)", PAGE):
        assert (Path(__file__).parents[2] / "docs" / target).is_file()


def test_the_limits_are_those_of_the_reader() -> None:
    text = " ".join(PAGE.split())
    assert acks.MAX_BYTES == 2**20 and "at most 1 MiB" in text
    assert f"{acks.MAX_DEPTH} levels deep" in text
    assert f"up to {acks.MAX_IDENTIFIER} characters" in text
    assert f"the first {acks.MAX_MESSAGE:,} characters" in text

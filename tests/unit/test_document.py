"""The document: the guide's to the letter, and valid by the schema that is published."""

import json
import uuid
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import jsonschema
import pytest

from connectors.dropzone import document, naming
from connectors.errors import ConnectorError
from connectors.port import (
    CustomerSnapshot,
    LineSnapshot,
    OrderSnapshot,
    OrgSnapshot,
    SourceDocumentSnapshot,
)

SCHEMA = Path(__file__).parents[2] / "docs/schemas/orderflow_export_json_v1.schema.json"

ORG = OrgSnapshot(id=uuid.UUID(int=9), slug="acme")
LINE = LineSnapshot(
    line_no=1,
    internal_sku="INT-999",
    qty=Decimal("10.000000"),
    uom="M",
    unit_price=Decimal("1.230000"),
    currency=None,
    customer_sku_raw="AB-123",
    description="Kabel NYM-J 3x1,5 ⌀",
)
ORDER = OrderSnapshot(
    id=uuid.UUID("550e8400-e29b-41d4-a716-446655440000"),
    approved_at=datetime(2025, 12, 26, 10, 0, 0, 999_999, UTC),
    approved_by="ops@acme.de",
    customer=CustomerSnapshot(id=uuid.UUID(int=1), erp_customer_number="4711", name="Müster GmbH"),
    external_order_number="PO-12345",
    order_date=date(2025, 12, 1),
    currency="EUR",
    requested_delivery_date=None,
    notes=None,
    source_document=SourceDocumentSnapshot(
        id=uuid.UUID(int=2), file_name="order.pdf", sha256="ab" * 32
    ),
    lines=(LINE,),
)

EXPECTED = (
    '{"export_version":"orderflow_export_json_v1","org_slug":"acme",'
    '"draft_order_id":"550e8400-e29b-41d4-a716-446655440000",'
    '"approved_at":"2025-12-26T10:00:00Z",'
    '"customer":{"id":"00000000-0000-0000-0000-000000000001","erp_customer_number":"4711",'
    '"name":"Müster GmbH"},'
    '"header":{"external_order_number":"PO-12345","order_date":"2025-12-01","currency":"EUR",'
    '"requested_delivery_date":null,"notes":null},'
    '"lines":[{"line_no":1,"internal_sku":"INT-999","qty":10,"uom":"M","unit_price":1.23,'
    '"currency":"EUR","customer_sku_raw":"AB-123","description":"Kabel NYM-J 3x1,5 ⌀"}],'
    '"meta":{"created_by":"ops@acme.de","source_document":'
    '{"document_id":"00000000-0000-0000-0000-000000000002","file_name":"order.pdf",'
    f'"sha256":"{"ab" * 32}"}}}}}}'
)


def test_the_document_is_the_guides_to_the_letter() -> None:
    assert document.render(ORDER, ORG).decode() == EXPECTED


def test_no_source_document_is_null() -> None:
    rendered = json.loads(document.render(replace(ORDER, source_document=None), ORG))
    assert rendered["meta"]["source_document"] is None


def test_a_line_keeps_its_own_currency() -> None:
    order = replace(ORDER, lines=(replace(LINE, currency="SEK"),))
    assert json.loads(document.render(order, ORG))["lines"][0]["currency"] == "SEK"


@pytest.mark.parametrize(
    ("stored", "written"),
    [
        ("10.000000", "10"),
        ("100000.000000", "100000"),
        ("0.000001", "0.000001"),
        ("123456789.123456", "123456789.123456"),
        ("0.300000", "0.3"),
        ("-0.000000", "0"),
    ],
)
def test_numbers_are_exact(stored: str, written: str) -> None:
    order = replace(ORDER, lines=(replace(LINE, qty=Decimal(stored)),))
    assert f'"qty":{written},' in document.render(order, ORG).decode()


def test_text_that_is_no_unicode_is_refused() -> None:
    with pytest.raises(ConnectorError) as raised:
        document.render(replace(ORDER, notes="\ud800"), ORG)
    assert raised.value.code == "NOT_EXPORTABLE"


def test_documents_are_valid_by_the_published_schema() -> None:
    schema = json.loads(SCHEMA.read_text())
    validator = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())
    validator.validate(json.loads(EXPECTED))
    for broken in (
        EXPECTED.replace('"qty":10', '"qty":"10"'),
        EXPECTED.replace("2025-12-26T10:00:00Z", "yesterday"),
        EXPECTED.replace('"uom":"M",', ""),
    ):
        with pytest.raises(jsonschema.ValidationError):
            validator.validate(json.loads(broken))


def test_file_names_are_the_guides() -> None:
    name = naming.export_filename(
        ORDER.id,
        now=datetime(2025, 12, 27, 10, 0, 0, tzinfo=UTC),
        suffix=uuid.UUID("abc12345-0000-4000-8000-000000000000"),
    )
    assert name == "sales_order_550e8400_20251227_100000_abc12345.json"
    assert naming.tmp_filename(name, "0a1b2c3d") == f"{name}.0a1b2c3d.tmp"

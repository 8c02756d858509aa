"""The JSON Schemas: published as they are in the code, and kept by the reader of answers."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from django.test import Client
from hypothesis import assume, given
from hypothesis import strategies as st

from connectors.dropzone import acks, schemas
from connectors.port import Ack
from tests.ledger.test_acks_reader import ACK, ERROR, EXPORT, GUIDE_ACK, GUIDE_ERROR, ORDER_ID

FOLDER = Path(__file__).parents[2] / "docs/schemas"


def validator(name: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json.loads((FOLDER / f"{name}.schema.json").read_text()))


ACCEPTANCE, REFUSAL = validator("orderflow_ack_v1"), validator("orderflow_error_ack_v1")


@pytest.mark.parametrize("name", schemas.STRUCTS)
def test_the_published_schemas_are_those_of_the_structs(name: str) -> None:
    page = f"docs/schemas/{name}.schema.json"
    assert json.loads((FOLDER / f"{name}.schema.json").read_text()) == schemas.json_schema(name), (
        f"run: manage.py export_schema {name} > {page}"
    )
    jsonschema.Draft202012Validator.check_schema(schemas.json_schema(name))


@pytest.mark.parametrize("name", schemas.STRUCTS)
def test_anybody_can_fetch_a_schema(client: Client, name: str) -> None:
    response = client.get(f"/schemas/{name}.schema.json")
    assert response.status_code == 200
    assert response["Content-Type"] == "application/schema+json"
    assert response["Cache-Control"] == "public, max-age=3600"
    assert "Cookie" not in response.get("Vary", "")
    assert response.json() == schemas.json_schema(name)


def test_nothing_else_is_served(client: Client) -> None:
    assert client.get("/schemas/orderflow_ack_v2.schema.json").status_code == 404
    assert client.post("/schemas/orderflow_ack_v1.schema.json").status_code == 405


def test_the_guides_answers_are_valid() -> None:
    ACCEPTANCE.validate(json.loads(GUIDE_ACK))
    REFUSAL.validate(json.loads(GUIDE_ERROR))


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "OK"},
        {"status": "FAILED"},
        {"erp_order_id": "  "},
        {"erp_order_id": "9" * 201},
        {"erp_order_id": True},
        {"processed_at": "2025-12-26T10:01:00"},
        {"export_filename": 5},
    ],
)
def test_what_would_be_left_out_is_not_valid(changes: dict[str, Any]) -> None:
    assert not ACCEPTANCE.is_valid({**json.loads(GUIDE_ACK), **changes})


any_text = st.text(st.sampled_from("aZ9 \n\x1f\0\ud800ü😀"), max_size=9)
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
identifiers = st.none() | any_text | numbers | st.integers(0, 2**54).map(float)
moments = (
    st.none()
    | st.integers(0, 2**32).map(lambda second: datetime.fromtimestamp(second, UTC).isoformat())
    | st.integers(0, 99).map(lambda n: f"2025-{n:02}-{n:02}T{n:02}:{n:02}:{n:02}.{n}Z")
)
echoes = {
    "processed_at": moments,
    "draft_order_id": st.none() | st.just(str(ORDER_ID)),
    "export_filename": st.none() | st.just(EXPORT),
    "x": any_text | st.lists(numbers, max_size=2),
}
acceptances = st.fixed_dictionaries(
    {"status": st.just("ACKED")}, optional={"erp_order_id": identifiers, **echoes}
)
refusals = st.fixed_dictionaries(
    {"status": st.just("FAILED")},
    optional={"error_code": identifiers, "message": st.none() | any_text, **echoes},
)


@given(acceptances)
def test_the_reader_accepts_what_the_schema_of_acks_accepts(body: dict[str, Any]) -> None:
    assume(ACCEPTANCE.is_valid(body))
    found = acks.read(ACK, json.dumps(body).encode())
    assert isinstance(found, Ack) and found.is_accepted
    assert (found.erp_order_id is None) == (body.get("erp_order_id") is None)
    check_moment(found, body)


@given(refusals)
def test_the_reader_accepts_what_the_schema_of_error_acks_accepts(body: dict[str, Any]) -> None:
    assume(REFUSAL.is_valid(body))
    found = acks.read(ERROR, json.dumps(body).encode())
    assert isinstance(found, Ack) and not found.is_accepted
    assert (found.error_code is None) == (body.get("error_code") is None)
    assert (found.message is None) == (not (body.get("message") or "").strip())
    check_moment(found, body)


def check_moment(found: Ack, body: dict[str, Any]) -> None:
    written = body.get("processed_at") or ""
    if written.endswith("+00:00"):
        assert found.processed_at == datetime.fromisoformat(written)

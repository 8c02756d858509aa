"""What the API refuses although it could be guessed, and takes although it is unusual."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from rest_framework.test import APIClient

from tests.support.api import (
    EXPORTS,
    LINE,
    ORDER,
    ORDERS,
    client,
    create,
    error_at,
    person,
    post,
    wrong_parameters,
)
from tests.support.builders import an_org
from tests.support.processes import ROOT

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"external_order_number": 12345}, "/external_order_number"),
        ({"notes": 1e5}, "/notes"),
        ({"lines": [LINE | {"internal_sku": 4711}]}, "/lines/0/internal_sku"),
    ],
)
def test_a_number_is_no_text(owner: APIClient, changes: dict[str, Any], pointer: str) -> None:
    assert error_at(post(owner, ORDERS, ORDER | changes)) == {pointer: "Not a valid string."}


@pytest.mark.parametrize(
    "changes",
    [
        {"notes": "a\0b"},
        {"customer": {"name": "a\0b"}},
        {"lines": [LINE | {"internal_sku": "a\0"}]},
    ],
)
def test_no_text_has_a_null_character(owner: APIClient, changes: dict[str, Any]) -> None:
    assert [*error_at(post(owner, ORDERS, ORDER | changes)).values()] == [
        "Null characters are not allowed."
    ]


def test_the_description_allows_no_null_character_in_a_required_text() -> None:
    schemas = yaml.safe_load((ROOT / "openapi.yaml").read_text())["components"]["schemas"]
    described = Draft202012Validator(
        {"$ref": "#/components/schemas/DraftOrderRequest", "components": {"schemas": schemas}}
    )
    assert described.is_valid(ORDER)
    assert not described.is_valid(ORDER | {"customer": {"name": "a\0b"}})


@pytest.mark.parametrize("blank", ["", "%20"])
@pytest.mark.parametrize(
    "name", ["status", "external_order_number", "customer", "created_after", "ordering", "cursor"]
)
def test_an_empty_parameter_does_not_widen_a_list(owner: APIClient, name: str, blank: str) -> None:
    assert wrong_parameters(owner.get(f"{ORDERS}?{name}={blank}")) == {name}


@pytest.mark.parametrize(
    "name", ["created_after", "created_before", "updated_after", "updated_before"]
)
@pytest.mark.parametrize(
    ("time", "is_known"),
    [
        ("2025-12-01T08:00:00Z", True),
        ("2025-12-01T08:00:00+01:00", True),
        ("2025-12-01T08:00:00%2B23:55", True),
        ("0001-01-01T00:00:00%2B01:00", False),
        ("9999-12-31T23:59:59-01:00", False),
        ("2025-12-01T08:00:00", False),
        ("2025-12-01", False),
    ],
)
def test_times_need_a_zone_and_may_have_any(
    owner: APIClient, name: str, time: str, is_known: bool
) -> None:
    response = owner.get(f"{ORDERS}?{name}={time}")
    if is_known:
        assert response.status_code == 200
    else:
        assert wrong_parameters(response) == {name}


def test_changes_are_followed_from_a_time_in_any_zone(owner: APIClient) -> None:
    create(owner)
    assert owner.get(f"{EXPORTS}?updated_since=2025-12-01T08:00:00%2B23:55").status_code == 200
    assert wrong_parameters(owner.get(f"{EXPORTS}?updated_since=now")) == {"updated_since"}


@pytest.mark.parametrize("truth", [1, "true", "yes", None])
def test_true_is_nothing_but_true(owner: APIClient, truth: Any) -> None:
    path = f"{ORDERS}/{create(owner)['id']}/approve"
    assert error_at(post(owner, path, {"confirm_warnings": truth})).keys() == {"/confirm_warnings"}


@pytest.mark.parametrize(
    ("seconds", "is_possible"),
    [(1, True), (3600, True), (None, True), (0, False), (864_000_001, False), ("soon", False)],
)
def test_the_deadline_of_answers_is_in_seconds(
    tmp_path: Path, settings: Any, seconds: Any, is_possible: bool
) -> None:
    settings.DROPZONE_ROOTS = [str(tmp_path)]
    org = an_org()
    operator = client(person("otto", org, "Operator"), org)
    response = post(
        operator,
        "/api/v1/erp-connections",
        {
            "connector_type": "DROPZONE_JSON_V1",
            "config": {"mode": "filesystem", "export_path": str(tmp_path)},
            "ack_deadline_seconds": seconds,
        },
    )
    if is_possible:
        assert response.status_code == 201
        assert response.json()["ack_deadline_seconds"] == seconds
    else:
        assert error_at(response).keys() == {"/ack_deadline_seconds"}

"""What the API refuses although it could be guessed, and takes although it is unusual."""

from typing import Any

import pytest
from rest_framework.test import APIClient

from tests.api import (
    LINE,
    ORDER,
    ORDERS,
    client,
    error_at,
    person,
    post,
)
from tests.builders import an_org

pytestmark = pytest.mark.django_db


@pytest.fixture
def owner() -> APIClient:
    org = an_org()
    return client(person("olivia", org, "Integration"), org)


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

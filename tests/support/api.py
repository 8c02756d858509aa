"""A client of the REST API for tests: people and services of two orgs, and what they send."""

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.contrib.auth.models import Group
from django.db.models import F
from django.utils import timezone
from rest_framework.test import APIClient

if TYPE_CHECKING:
    # What the test client adds to a response.
    from rest_framework.response import _MonkeyPatchedResponse as Response
else:
    from rest_framework.response import Response

from accounts.models import Org, User
from accounts.tokens import create_token
from exports.models import ErpExport

ORDERS = "/api/v1/draft-orders"
EXPORTS = "/api/v1/erp-exports"

LINE = {"line_no": 1, "internal_sku": "INT-999", "qty": "10", "uom": "M", "unit_price": "1.23"}
DOCUMENT = {"file_name": "order.pdf", "sha256": "a" * 64}
ORDER = {
    "external_order_number": "PO-12345",
    "order_date": "2025-12-01",
    "currency": "EUR",
    "customer": {"erp_customer_number": "4711", "name": "Muster GmbH"},
    "lines": [LINE],
}


def person(name: str, org: Org, group: str) -> User:
    user = User.objects.create(username=name, email=f"{name}@{org.slug}.example")
    user.groups.add(Group.objects.get(name=group))
    org.users.add(user)
    return user


def client(user: User, org: Org) -> APIClient:
    _, text = create_token(user, org=org, name="test")
    return bearer(text)


def bearer(text: str) -> APIClient:
    return APIClient(headers={"Authorization": f"Bearer {text}"})


def post(api: APIClient, path: str, body: Any = None, **headers: str) -> Response:
    return send(api, "POST", path, {} if body is None else body, **headers)


def send(api: APIClient, method: str, path: str, body: Any, **headers: str) -> Response:
    """Send JSON; a text is sent as it stands. Headers: if_match for If-Match."""
    content = body if isinstance(body, str) else json.dumps(body)
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return api.generic(method, path, content, content_type="application/json", headers=sent)


def create(api: APIClient, **changes: Any) -> dict[str, Any]:
    response = post(api, ORDERS, ORDER | changes)
    assert response.status_code == 201, response.content
    created: dict[str, Any] = response.json()
    return created


def create_approved(api: APIClient, **changes: Any) -> str:
    path = f"{ORDERS}/{create(api, **changes)['id']}"
    assert post(api, f"{path}/approve").status_code == 200
    return path


def create_failed(api: APIClient) -> tuple[str, str]:
    """An order whose export was cancelled an hour ago; the paths of both."""
    order = create_approved(api)
    export = post(api, f"{order}/push")["Location"]
    assert post(api, f"{export}/cancel", {"reason": "too early"}).status_code == 200
    ErpExport.objects.update(created_at=F("created_at") - timedelta(hours=1))
    return order, export


def refusal(response: Response, status: int, code: str) -> dict[str, Any]:
    """Check that a response is a problem with this status and code; return its body."""
    assert response.status_code == status, response.content
    assert response["Content-Type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert (problem["status"], problem["code"]) == (status, code)
    return problem


def error_at(response: Response) -> dict[str, str]:
    return {e["pointer"]: e["detail"] for e in refusal(response, 400, "invalid")["errors"]}


def wrong_parameters(response: Response) -> set[str]:
    return {e["parameter"] for e in refusal(response, 400, "invalid")["errors"]}


def spread(model: Any, *keys: str, field: str = "created_at") -> None:
    """Set the times of rows a second apart; in one transaction they are all equal."""
    for number, key in enumerate(keys):
        at = timezone.now() - timedelta(seconds=10 - number)
        model.objects.filter(id=key).update(**{field: at})

"""Real orders, posted through the API, arrive on an OpenSSH server value for value."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from django.contrib.auth.models import Group
from rest_framework.test import APIClient

from accounts.tokens import create_token
from connectors.dropzone import schemas
from exports.delivery.protocol import deliver
from tests.support.builders import a_connection, a_user, an_org
from tests.support.dropzones import openssh_config
from tests.support.servers import OpenSSHServer

ORDERS = Path(__file__).parents[3] / "shared/data/peppol_orders"


@pytest.mark.django_db
@pytest.mark.skipif(not ORDERS.exists(), reason="the sample orders are not here")
def test_real_orders_arrive_value_for_value(openssh: OpenSSHServer) -> None:
    org = an_org()
    service = a_user(org, "shop")
    service.groups.add(Group.objects.get(name="Integration"))
    _, token = create_token(service, org=org, name="shop")
    client = APIClient(HTTP_AUTHORIZATION=f"Bearer {token}")
    connection = a_connection(org, openssh_config(openssh))
    validator = jsonschema.Draft202012Validator(
        schemas.json_schema("orderflow_export_json_v1"), format_checker=jsonschema.FormatChecker()
    )

    sources: dict[str, dict[str, Any]] = {}
    for path in sorted(ORDERS.glob("*.json")):
        source = json.loads(path.read_text())
        created = client.post("/api/v1/draft-orders", source, format="json")
        assert created.status_code == 201, created.json()
        order = f"/api/v1/draft-orders/{created.json()['id']}"
        # Some of them share customer and number, so the approver confirms.
        approval = client.post(f"{order}/approve", {"confirm_warnings": True}, format="json")
        assert approval.status_code == 200, approval.json()
        pushed = client.post(f"{order}/push")
        assert pushed.status_code == 202, pushed.json()
        sources[pushed.json()["filename"]] = source

    assert len(sources) >= 5
    assert deliver(connection.id).sent == len(sources)
    for filename, source in sources.items():
        content = (openssh.root / "exports" / filename).read_bytes()
        exported = json.loads(content, parse_float=Decimal)
        validator.validate(json.loads(content))
        assert as_source(exported) == {**source, "lines": [numbers(x) for x in source["lines"]]}
        assert exported["meta"]["created_by"] == service.email


def as_source(exported: dict[str, Any]) -> dict[str, Any]:
    """An exported document in the form of the sample orders."""
    document = exported["meta"]["source_document"]
    return {
        **exported["header"],
        "customer": {k: v for k, v in exported["customer"].items() if k != "id"},
        "source_document": {k: v for k, v in document.items() if k != "document_id"},
        "lines": [numbers(line) for line in exported["lines"]],
    }


def numbers(line: dict[str, Any]) -> dict[str, Any]:
    """A line whose quantity and price are numbers, as exact as they were written."""
    return {
        **line,
        "qty": Decimal(str(line["qty"])),
        "unit_price": Decimal(str(line["unit_price"])),
    }

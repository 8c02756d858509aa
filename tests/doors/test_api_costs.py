"""What a request costs: the same few queries, however many rows there are.

Four of them every request takes: for the token, for the count of its requests, and for the
permissions of its user and of the user's groups.
"""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection as database
from django.db.models import F
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from exports.models import ErpAck, ErpExport, ErpExportEvent
from tests.support.api import EXPORTS, LINE, ORDER, ORDERS, create, create_approved, post, send

pytestmark = pytest.mark.django_db

ACKS = "/api/v1/erp-acks"
CONNECTIONS = "/api/v1/erp-connections"
LINES = [LINE | {"line_no": number} for number in range(1, 21)]


def cost(api: APIClient, method: str, path: str, body: Any = None, **headers: str) -> int:
    """How many queries it takes to grant a request."""
    with CaptureQueriesContext(database) as captured:
        response = send(api, method, path, {} if body is None else body, **headers)
    assert response.status_code < 300, response.content
    return len(captured)


def a_case(api: APIClient, size: int) -> dict[str, str]:
    """Paths of an order with so many lines, exports, events and answers, and of one of each."""
    order = create_approved(api, external_order_number=f"PO-{size}", lines=LINES[:size])
    export = ""
    for number in range(size):
        export = post(api, f"{order}/{'retry-push' if number else 'push'}")["Location"]
        post(api, f"{export}/cancel")
    # The feed of changes shows none that another transaction might still precede.
    ErpExport.objects.update(updated_at=F("updated_at") - timedelta(minutes=5))
    row = ErpExport.objects.get(id=export.rpartition("/")[2])
    ErpExportEvent.objects.bulk_create(
        ErpExportEvent(export=row, kind="REQUESTED", status="FAILED", actor=row.requested_by)
        for _ in range(size)
    )
    acks = ErpAck.objects.bulk_create(
        ErpAck(
            org=row.org,
            erp_connection=row.erp_connection,
            export=row,
            filename=f"ack_{row.filename}",
            sha256=f"{number:064}",
            classification="DISMISSED",
            decided_at=timezone.now(),
            decided_by=row.requested_by,
        )
        for number in range(size)
    )
    return {
        "order": order,
        "export": export,
        "ack": f"{ACKS}/{acks[0].id}",
        "connection": f"{CONNECTIONS}/{row.erp_connection_id}",
    }


@pytest.mark.parametrize(
    ("path", "queries"),
    [
        (ORDERS, 6),
        (f"{ORDERS}?status=APPROVED&erp_customer_number=4711", 6),
        ("{order}", 8),
        ("{order}/preview", 10),
        (EXPORTS, 8),
        (f"{EXPORTS}?overdue=false&erp_customer_number=4711", 8),
        (f"{EXPORTS}?updated_since=2025-01-01T00:00:00Z", 9),
        ("{export}", 5),
        ("{export}/payload", 5),
        ("{export}/events", 6),
        (CONNECTIONS, 5),
        ("{connection}", 5),
        (ACKS, 5),
        ("{ack}", 5),
    ],
)
@pytest.mark.usefixtures("connection")
def test_reading_costs_the_same_for_any_length(owner: APIClient, path: str, queries: int) -> None:
    for size in (1, 10):
        case = a_case(owner, size)
        shown = owner.get(path.format(**case)).json()
        assert "results" not in shown or shown["results"]
        assert cost(owner, "GET", path.format(**case)) == queries


@pytest.mark.usefixtures("connection")
def test_writing_costs_the_same_for_any_length(owner: APIClient) -> None:
    """An order's way: first with one line, then with ten among more orders."""
    for size in (1, 10):
        a_case(owner, size)
        body = ORDER | {"external_order_number": f"NEW-{size}", "lines": LINES[:size]}
        order = f"{ORDERS}/{create(owner, **body)['id']}"
        assert cost(owner, "POST", ORDERS, body) == 17
        assert cost(owner, "PUT", order, body) == 26
        assert cost(owner, "POST", f"{order}/approve", {"confirm_warnings": True}) == 19
        assert cost(owner, "POST", f"{order}/push") == 18
        export = owner.get(order).json()["latest_export"]["id"]
        assert cost(owner, "POST", f"{EXPORTS}/{export}/cancel") == 18
        # Under a key that it has not seen, and again under the same one.
        for queries in (23, 8):
            key = {"idempotency_key": f"retry-{size}"}
            assert cost(owner, "POST", f"{order}/retry-push", **key) == queries

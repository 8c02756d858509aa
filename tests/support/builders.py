"""Orgs, people, orders and connections for tests, made by the services of production."""

from datetime import date
from decimal import Decimal
from typing import Any

from accounts.models import Membership, Org, User
from connectors import circuit_breaker, configuring
from connectors.errors import ConnectorError
from connectors.models import ErpConnection
from exports.models import ErpExport
from exports.pushing.push import push_order
from orders import approval
from orders.models import Customer, DraftOrder, DraftOrderLine


def an_org(slug: str = "acme") -> Org:
    return Org.objects.create(name=slug.title(), slug=slug)


def a_user(org: Org, name: str = "ann") -> User:
    user = User.objects.create_user(name, email=f"{name}@{org.slug}.example", password="secret")
    Membership.objects.create(user=user, org=org)
    return user


def an_order(org: Org, number: str = "PO-1", *, lines: int = 1, **fields: Any) -> DraftOrder:
    """An order that is READY unless `fields` or `lines` say otherwise."""
    customer, _ = Customer.objects.get_or_create(
        org=org, erp_customer_number="4711", defaults={"name": "Muster GmbH"}
    )
    values = {
        "customer": customer,
        "currency": "EUR",
        "order_date": date(2025, 12, 1),
        "external_order_number": number,
        **fields,
    }
    order = DraftOrder.objects.create(org=org, **values)
    DraftOrderLine.objects.bulk_create(
        DraftOrderLine(
            order=order,
            line_no=number,
            internal_sku=f"INT-{number}",
            qty=Decimal("1.5"),
            uom="M",
            unit_price=Decimal("2.25"),
        )
        for number in range(1, lines + 1)
    )
    approval.recompute_readiness(order.id)
    order.refresh_from_db()
    return order


def an_approved_order(org: Org, actor: User, number: str = "PO-1", **fields: Any) -> DraftOrder:
    order = an_order(org, number, **fields)
    return approval.approve(order.id, actor=actor)


def a_connection(org: Org, config: dict[str, Any], *, paused: bool = False) -> ErpConnection:
    """A connection that may deliver, as after a passing test."""
    connection = configuring.create_connection(
        org, connector_type="DROPZONE_JSON_V1", config=config
    )
    if not paused:
        ErpConnection.objects.filter(id=connection.id).update(last_test_success=True)
        circuit_breaker.resume(connection.id)
        connection.refresh_from_db()
    return connection


def pause_by_system(connection: ErpConnection, code: str) -> None:
    """Pause a connection as an error with this code does."""
    circuit_breaker.record_failure(connection, ConnectorError(code))


def some_exports(
    org: Org, actor: User, count: int = 1, *, first: int = 0, **fields: Any
) -> list[ErpExport]:
    """Exports of new orders, waiting to be delivered; their numbers begin with `first`."""
    return [
        push_order(an_approved_order(org, actor, f"PO-{number}", **fields).id, actor=actor)
        for number in range(first, first + count)
    ]

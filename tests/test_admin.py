"""The admin: who sees and may do what, and that no secret gets out."""

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from django.apps import apps
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import ApiToken, Membership, Org, User
from accounts.tokens import find_token
from connectors import health
from connectors.configuring import create_connection
from connectors.errors import ConnectorError
from connectors.models import NEVER_TESTED, ConnectionTest, ErpConnection
from exports import connection_tests, workers
from exports.batches import create_batch
from exports.models import Batch, ErpAck, ErpExport, ErpExportEvent
from exports.push import cancel_export, push_order
from exports.ring import due_connections
from exports.transitions import advance
from orderflow.db import Now
from orders import workflow
from orders.models import Customer, DraftOrder, DraftOrderLine, SourceDocument
from tests.tables import tables

pytestmark = pytest.mark.django_db

Status = DraftOrder.Status
CANARY = "canary-s3cret-8f1b"
XSS = "<script>alert('x')</script>"
HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE8vC6FJqMvQmX5bL4hLJ7eIqyGZyS0iVb2ZC0mZpJtW"
OLD_HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPzZ1p7x9yq8oQ3V6n0sT4wK2rD5mH1cJ8bL7fG6eX9a"


@pytest.fixture(autouse=True)
def _plain_http(settings: Any) -> None:
    settings.SECURE_SSL_REDIRECT = False
    settings.STORAGES = {
        **settings.STORAGES,
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    }


@pytest.fixture
def org() -> Org:
    return Org.objects.create(name="Acme", slug="acme")


@pytest.fixture
def other_org() -> Org:
    return Org.objects.create(name="Umbrella", slug="umbrella")


@pytest.fixture
def root() -> Client:
    return _client(User.objects.create_superuser("root"))


@pytest.fixture
def approver(org: Org) -> User:
    return _member("ann", org, "Approver")


@pytest.fixture
def operator(org: Org) -> User:
    return _member("oskar", org, "Operator")


@pytest.fixture
def viewer(org: Org) -> User:
    return _member("vera", org, "Viewer")


@pytest.fixture
def dropzone(tmp_path: Path, settings: Any) -> Path:
    settings.DROPZONE_ROOTS = [str(tmp_path)]
    for name in ("out", "acks"):
        (tmp_path / name).mkdir()
    return tmp_path


@pytest.fixture
def connection(org: Org, dropzone: Path) -> ErpConnection:
    config = {"mode": "filesystem", "export_path": f"{dropzone}/out"}
    return create_connection(org, connector_type="DROPZONE_JSON_V1", config=config)


@pytest.fixture
def sftp(org: Org) -> ErpConnection:
    config = {
        "mode": "sftp",
        "host": "erp.example",
        "username": "orderflow",
        "password": CANARY,
        "export_path": "/out",
        "host_keys": [OLD_HOST_KEY],
    }
    return create_connection(org, connector_type="DROPZONE_JSON_V1", config=config)


def _member(name: str, org: Org, group: str) -> User:
    user = User.objects.create_user(name, is_staff=True)
    user.groups.add(Group.objects.get(name=group))
    Membership.objects.create(user=user, org=org)
    return user


def _client(user: User, **kwargs: Any) -> Client:
    client = Client(**kwargs)
    client.force_login(user)
    return client


def _order(org: Org, number: str = "PO-1", **fields: Any) -> DraftOrder:
    customer = fields.pop("customer", None) or Customer.objects.create(
        org=org, name=f"Customer of {number}", erp_customer_number=f"C-{number}"
    )
    order = DraftOrder.objects.create(
        org=org, customer=customer, external_order_number=number, currency="EUR", **fields
    )
    DraftOrderLine.objects.create(order=order, line_no=1, internal_sku="S", qty="2.5", uom="PCE")
    workflow.recompute_readiness(order.id)
    order.refresh_from_db()
    return order


def _approved(org: Org, actor: User, number: str = "PO-1", **fields: Any) -> DraftOrder:
    return workflow.approve(_order(org, number, **fields).id, actor=actor)


def _failed(export: ErpExport) -> None:
    """The export fails, by the ledger's own means."""
    error = ConnectorError("NOT_EXPORTABLE")
    advance(
        [export.id],
        kind=ErpExportEvent.Kind.FAILED,
        where=_any(),
        status=ErpExport.Status.FAILED,
        next_attempt_at=None,
        error_json=error.as_json(),
    )
    workflow.transition([export.draft_order_id], expect=[Status.PUSHING], to=Status.ERROR)


def _ack(connection: ErpConnection, verdict: str, **fields: Any) -> ErpAck:
    return ErpAck.objects.create(
        **{
            "org": connection.org,
            "erp_connection": connection,
            "filename": f"ack_{verdict}.json",
            "sha256": "0",
            "raw": "{}",
            "is_accepted": True,
            "verdict": verdict,
            **fields,
        }
    )


def _conflict(connection: ErpConnection, actor: User) -> ErpAck:
    """The ERP accepts an order whose export has failed."""
    export = push_order(_approved(connection.org, actor, "PO-conflict").id, actor=actor)
    _failed(export)
    return _ack(connection, "CONFLICT", export=export)


def _batch(order: DraftOrder, actor: User) -> Batch:
    orders = DraftOrder.objects.filter(id=order.id)
    return create_batch(order.org, action="reject", orders=orders, actor=actor)


def _any() -> Any:
    from django.db.models import Q

    return Q()


def _url(name: str, *args: object) -> str:
    return reverse(f"admin:{name}", args=args)


def _decide(name: str) -> str:
    return _url("orders_draftorder_decide", name)


def _text(response: Any) -> str:
    return str(response.content.decode())


def _messages(response: Any) -> list[str]:
    return [str(message) for message in response.context["messages"]]


def _line_data(order: DraftOrder | None = None, **changes: str) -> dict[str, str]:
    """What the browser sends for the lines: those of the order, and one empty row."""
    lines = list(order.lines.all()) if order else []
    data = {
        "lines-TOTAL_FORMS": str(len(lines) + 1),
        "lines-INITIAL_FORMS": str(len(lines)),
    }
    for i, line in enumerate(lines):
        data |= {
            f"lines-{i}-id": str(line.pk),
            f"lines-{i}-order": str(line.order_id),
            f"lines-{i}-line_no": str(line.line_no),
            f"lines-{i}-internal_sku": line.internal_sku,
            f"lines-{i}-qty": str(line.qty),
            f"lines-{i}-uom": line.uom,
        }
    return data | changes


def _order_data(order: DraftOrder, **changes: str) -> dict[str, str]:
    return {
        "customer": str(order.customer_id),
        "external_order_number": order.external_order_number,
        "currency": order.currency,
        "notes": order.notes,
        **_line_data(order),
        **changes,
    }


# Orgs.
@pytest.mark.parametrize("name", ["draftorder", "customer", "sourcedocument"])
def test_lists_show_only_the_orgs_of_the_user(
    org: Org, other_org: Org, approver: User, name: str
) -> None:
    for owner in (org, other_org):
        _order(owner, f"PO-{owner.slug}")
        Customer.objects.create(org=owner, name=f"Buyer {owner.slug}")
        SourceDocument.objects.create(org=owner, file_name=f"{owner.slug}.pdf", sha256="0" * 64)
    page = _text(_client(approver).get(_url(f"orders_{name}_changelist")))
    assert org.slug in page
    assert other_org.slug not in page
    assert other_org.name not in page


def test_objects_of_other_orgs_are_not_found(
    other_org: Org, org: Org, approver: User, operator: User, dropzone: Path, root: Client
) -> None:
    config = {"mode": "filesystem", "export_path": f"{dropzone}/out"}
    connection = create_connection(other_org, connector_type="DROPZONE_JSON_V1", config=config)
    stranger = _member("stranger", other_org, "Approver")
    export = push_order(_approved(other_org, stranger).id, actor=stranger)
    customer = Customer.objects.get(org=other_org)
    ack = _ack(connection, "UNMATCHED")
    pages = {
        approver: [
            _url("orders_draftorder_change", export.draft_order_id),
            _url("orders_draftorder_history", export.draft_order_id),
            _decide("push") + f"?order={export.draft_order_id}",
            _url("orders_customer_change", customer.id),
            _url("exports_erpexport_change", export.id),
            _url("exports_erpexport_payload", export.id),
            _url("exports_erpexport_cancel", export.id),
            _url("accounts_org_change", other_org.id),
        ],
        operator: [
            _url("exports_erpexport_settle", export.id),
            *(
                _url(f"exports_erpack_{name}", ack.id)
                for name in ("change", "assign", "take", "dismiss")
            ),
            _url("connectors_erpconnection_change", connection.id),
            *(
                _url(f"connectors_erpconnection_{name}", connection.id)
                for name in ("test", "poll", "deliver", "pin", "pause", "resume")
            ),
        ],
    }
    for user, urls in pages.items():
        client = _client(user)
        for url in urls:
            response = client.get(url)
            # Django's own pages lead to the index with a message that there is no such object.
            assert response.status_code in (302, 404), url
            assert root.get(url).status_code in (200, 302)
    client = _client(approver)
    before = tables()
    assert client.post(_decide("reject"), {"orders": str(export.draft_order_id)}).status_code == 404
    url = _url("exports_erpexport_cancel", export.id)
    assert client.post(url, {"reason": "x"}).status_code == 404
    assert tables() == before


def test_choices_are_of_the_orgs_of_the_user(org: Org, other_org: Org, approver: User) -> None:
    foreign = Customer.objects.create(org=other_org, name="Foreign buyer")
    own = Customer.objects.create(org=org, name="Own buyer")
    client = _client(approver)
    page = _text(client.get(_url("orders_draftorder_add")))
    assert "Own buyer" in page
    assert "Foreign buyer" not in page
    assert "Umbrella" not in page
    data = {"org": str(org.id), "customer": str(foreign.id), **_line_data()}
    page = _text(client.post(_url("orders_draftorder_add"), data))
    assert "Select a valid choice" in page
    assert "Foreign buyer" not in page
    data = {"org": str(other_org.id), "customer": str(own.id), **_line_data()}
    assert "Select a valid choice" in _text(client.post(_url("orders_draftorder_add"), data))
    assert not DraftOrder.objects.exists()


def test_an_order_takes_no_customer_of_another_org(root: Client, org: Org, other_org: Org) -> None:
    foreign = Customer.objects.create(org=other_org, name="Foreign buyer")
    data = {"org": str(org.id), "customer": str(foreign.id), **_line_data()}
    assert "Choose one of Acme." in _text(root.post(_url("orders_draftorder_add"), data))
    order = _order(org)
    page = root.post(
        _url("orders_draftorder_change", order.id), _order_data(order, customer=str(foreign.id))
    )
    assert "Select a valid choice" in _text(page)


def test_an_object_never_moves_to_another_org(root: Client, org: Org, other_org: Org) -> None:
    customer = Customer.objects.create(org=org, name="Buyer")
    data = {"org": str(other_org.id), "name": "Renamed", "erp_customer_number": ""}
    root.post(_url("orders_customer_change", customer.id), data)
    customer.refresh_from_db()
    assert (customer.name, customer.org) == ("Renamed", org)


def test_a_customer_number_is_taken_once(root: Client, org: Org) -> None:
    Customer.objects.create(org=org, name="First", erp_customer_number="7")
    second = Customer.objects.create(org=org, name="Second")
    data = {"name": "Second", "erp_customer_number": "7"}
    page = _text(root.post(_url("orders_customer_change", second.id), data))
    assert "Another customer has this ERP customer number." in page


# Permissions.
def test_pages_by_permission(
    org: Org, connection: ErpConnection, viewer: User, approver: User, operator: User
) -> None:
    export = push_order(_approved(org, approver).id, actor=approver)
    _needs_a_decision(export, Path("/nowhere"))
    unmatched = _ack(connection, "UNMATCHED")
    conflict = _conflict(connection, approver)
    order = _order(org, "PO-2")
    batch = _batch(order, approver)
    every = {viewer, approver, operator}
    allowed = {
        _url("orders_draftorder_changelist"): every,
        _url("orders_draftorder_change", order.id): every,
        _url("orders_draftorder_add"): {approver},
        _url("orders_draftorder_csv"): every,
        _url("exports_erpexport_csv"): every,
        _url("exports_erpexport_failures"): every,
        _url("exports_erpack_csv"): every,
        _url("exports_batch_changelist"): every,
        _url("exports_batch_change", batch.id): every,
        _url("exports_batch_cancel", batch.id): {approver},
        _url("exports_batchitem_changelist"): every,
        _url("exports_batchitem_csv"): every,
        _decide("approve") + f"?order={order.id}": {approver},
        _decide("reject") + f"?order={order.id}": {approver},
        _decide("push") + f"?order={order.id}": {approver, operator},
        _decide("retry") + f"?order={order.id}": {approver, operator},
        _url("exports_erpexport_changelist"): every,
        _url("exports_erpexport_change", export.id): every,
        _url("exports_erpexport_payload", export.id): every,
        _url("exports_erpexport_cancel", export.id): {approver, operator},
        _url("exports_erpexport_settle", export.id): {operator},
        _url("exports_erpack_changelist"): every,
        _url("exports_erpack_change", unmatched.id): every,
        _url("exports_erpack_assign", unmatched.id): {operator},
        _url("exports_erpack_dismiss", unmatched.id): {operator},
        _url("exports_erpack_take", conflict.id): {operator},
        _url("connectors_erpconnection_changelist"): every,
        _url("connectors_erpconnection_change", connection.id): every,
        _url("connectors_erpconnection_add"): {operator},
        _url("connectors_erpconnection_test", connection.id): {operator},
        _url("connectors_erpconnection_poll", connection.id): {operator},
        _url("connectors_erpconnection_deliver", connection.id): {approver, operator},
        _url("connectors_erpconnection_pause", connection.id): {operator},
        _url("connectors_erpconnection_resume", connection.id): {operator},
        _url("accounts_user_changelist"): set(),
        _url("accounts_apitoken_changelist"): set(),
        # Nobody, superusers included.
        _url("exports_batch_add"): set(),
        _url("exports_batch_delete", batch.id): set(),
        _url("exports_erpexport_add"): set(),
        _url("exports_erpexport_delete", export.id): set(),
        _url("exports_erpack_add"): set(),
        _url("exports_erpack_delete", unmatched.id): set(),
        _url("connectors_erpconnection_delete", connection.id): set(),
        _url("orders_draftorder_delete", order.id): set(),
    }
    for user in every:
        client = _client(user)
        for url, users in allowed.items():
            assert client.get(url).status_code == (200 if user in users else 403), (user, url)


def test_posts_without_permission_change_nothing(
    org: Org, connection: ErpConnection, viewer: User, approver: User
) -> None:
    export = push_order(_approved(org, approver).id, actor=approver)
    unmatched, conflict = _ack(connection, "UNMATCHED"), _conflict(connection, approver)
    order = _order(org, "PO-2")
    posts = [
        *(_decide(name) for name in ("approve", "push", "retry", "reject")),
        _url("orders_draftorder_change", order.id),
        _url("exports_erpexport_change", export.id),
        _url("exports_erpexport_cancel", export.id),
        _url("exports_erpexport_settle", export.id),
        _url("exports_erpack_change", unmatched.id),
        _url("exports_erpack_assign", unmatched.id),
        _url("exports_erpack_dismiss", unmatched.id),
        _url("exports_erpack_take", conflict.id),
        _url("connectors_erpconnection_change", connection.id),
        *(
            _url(f"connectors_erpconnection_{name}", connection.id)
            for name in ("test", "poll", "deliver", "pin", "pause", "resume")
        ),
    ]
    client = _client(viewer)
    before = tables()
    for url in posts:
        data = {"orders": str(order.id), "reason": "x", **_order_data(order, currency="USD")}
        assert client.post(url, data).status_code == 403, url
    assert tables() == before


def test_actions_of_the_list_are_those_of_the_permissions(
    org: Org, viewer: User, approver: User, operator: User
) -> None:
    _order(org)
    names = {}
    for user in (viewer, approver, operator):
        page = _text(_client(user).get(_url("orders_draftorder_changelist")))
        names[user.username] = re.findall(r'<option value="(\w+)_orders">', page)
    assert names == {
        "vera": [],
        "ann": ["approve", "push", "retry", "reject"],
        "oskar": ["push", "retry"],
    }


def test_every_form_asks_for_the_csrf_token(
    org: Org, connection: ErpConnection, approver: User, root: Client
) -> None:
    export = push_order(_approved(org, approver).id, actor=approver)
    _needs_a_decision(export, Path("/nowhere"))
    unmatched, conflict = _ack(connection, "UNMATCHED"), _conflict(connection, approver)
    strict = _client(User.objects.get(username="root"), enforce_csrf_checks=True)
    before = tables()
    for url in (
        _decide("reject"),
        _url("orders_draftorder_changelist"),
        _url("exports_erpexport_cancel", export.id),
        _url("exports_erpexport_settle", export.id),
        _url("exports_erpack_assign", unmatched.id),
        _url("exports_erpack_dismiss", unmatched.id),
        _url("exports_erpack_take", conflict.id),
        *(
            _url(f"connectors_erpconnection_{name}", connection.id)
            for name in ("change", "test", "poll", "deliver", "pin", "pause", "resume")
        ),
    ):
        assert strict.post(url, {"orders": str(export.draft_order_id)}).status_code == 403, url
        # It is the token that is missing, not something else.
        assert "csrfmiddlewaretoken" in _text(
            root.get(url.replace("reject/", f"reject/?order={export.draft_order_id}"), follow=True)
        )
    assert tables() == before


def test_the_confirmation_of_a_list_action_changes_nothing(
    org: Org, connection: ErpConnection, approver: User
) -> None:
    orders = [_order(org), _approved(org, approver, "PO-2")]
    client = _client(approver)
    before = tables()
    for name in ("approve", "push", "retry", "reject"):
        data = {"action": f"{name}_orders", "_selected_action": [str(o.id) for o in orders]}
        response = client.post(_url("orders_draftorder_changelist"), data)
        assert f'action="{_decide(name)}"' in _text(response)
    assert tables() == before


# Deciding.
def test_approve_says_what_will_happen_and_does_it(org: Org, approver: User) -> None:
    ready = _order(org, "PO-ready")
    lacking = _order(org, "PO-lacking", customer=Customer.objects.create(org=org, name="New"))
    first = _order(org, "PO-twin")
    twin = _order(org, "PO-twin", customer=first.customer)
    client = _client(approver)
    orders = [ready, lacking, first, twin]
    data = {"action": "approve_orders", "_selected_action": [str(o.id) for o in orders]}
    page = _text(client.post(_url("orders_draftorder_changelist"), data))
    assert "1 order will be approved" in page
    assert "1 order will be skipped" in page
    assert "Customer New has no ERP customer number." in page
    assert "2 orders will be approved only if you confirm" in page

    posted = {"orders": " ".join(str(o.id) for o in orders)}
    response = client.post(_decide("approve"), posted, follow=True)
    said = _messages(response)
    assert said[0] == "Order PO-ready was approved."
    assert any("PO-lacking was skipped. Customer New" in message for message in said)
    assert DraftOrder.objects.filter(status=Status.APPROVED).get() == ready
    ready.refresh_from_db()
    assert ready.approved_by == approver

    posted["confirm_warnings"] = "yes"
    assert "2 orders were approved." in _messages(
        client.post(_decide("approve"), posted, follow=True)
    )
    twin.refresh_from_db()
    assert twin.status == Status.APPROVED


def test_push_and_retry_from_the_page_of_an_order(
    org: Org, connection: ErpConnection, approver: User
) -> None:
    order = _approved(org, approver)
    client = _client(approver)
    page = _text(client.get(_url("orders_draftorder_change", order.id)))
    assert f"{_decide('push')}?order={order.id}" in page
    assert "takes back the approval" in page
    page = _text(client.get(f"{_decide('push')}?order={order.id}"))
    assert "1 order will be pushed" in page
    assert "This connection is paused" in page
    back = _url("orders_draftorder_change", order.id)
    response = client.post(_decide("push"), {"orders": str(order.id), "back": back}, follow=True)
    assert response.redirect_chain[0][0] == back
    assert _messages(response) == ["Order PO-1 was pushed."]
    export = order.exports.get()
    assert export.requested_by == approver
    assert export.filename in _text(response)
    assert "can no longer be edited" in _text(response)
    assert "_save" not in _text(response)

    _failed(export)
    page = _text(client.get(_url("orders_draftorder_change", order.id)))
    assert "The order cannot be written as a document." in page
    assert "order data" in page
    response = client.post(_decide("retry"), {"orders": str(order.id), "back": back}, follow=True)
    assert _messages(response) == ["Order PO-1 was pushed again."]
    assert order.exports.count() == 2


def test_push_without_a_connection_is_skipped_with_the_reason(org: Org, approver: User) -> None:
    order = _approved(org, approver)
    client = _client(approver)
    page = _text(client.get(f"{_decide('push')}?order={order.id}"))
    assert "1 order will be skipped" in page
    assert "Acme has no active ERP connection." in page
    assert 'type="submit" class="default"' not in page
    said = _messages(client.post(_decide("push"), {"orders": str(order.id)}, follow=True))
    assert said == ["Order PO-1 was skipped. Acme has no active ERP connection. Set one up first."]


def test_reject(org: Org, approver: User) -> None:
    order = _order(org)
    client = _client(approver)
    client.post(_decide("reject"), {"orders": str(order.id)})
    order.refresh_from_db()
    assert order.status == Status.REJECTED
    history = _text(client.get(_url("orders_draftorder_history", order.id)))
    assert "Rejected." in history
    assert "ann" in history


@pytest.mark.parametrize("ids", ["", "x", "00000000-0000-0000-0000-000000000000"])
def test_a_decision_about_no_order_is_not_found(approver: User, ids: str) -> None:
    assert _client(approver).post(_decide("approve"), {"orders": ids}).status_code == 404
    assert _client(approver).get(f"{_decide('approve')}?order={ids}").status_code == 404
    assert _client(approver).get(_url("orders_draftorder_decide", "frame")).status_code == 404


# Editing.
def test_an_order_made_by_hand_gets_its_readiness(org: Org, approver: User) -> None:
    customer = Customer.objects.create(org=org, name="Buyer", erp_customer_number="1")
    line = {"lines-0-line_no": "1", "lines-0-internal_sku": "S", "lines-0-qty": "1.5"}
    data = {"org": str(org.id), "customer": str(customer.id), "currency": "EUR"}
    client = _client(approver)
    client.post(_url("orders_draftorder_add"), data | _line_data(**line))
    order = DraftOrder.objects.get()
    assert order.status == Status.NEEDS_REVIEW
    page = client.get(_url("orders_draftorder_change", order.id))
    assert "Line 1: the unit of measure is missing." in _text(page)
    assert 'value="1.5"' in _text(page)
    changed = _order_data(order) | {"lines-0-uom": "PCE"}
    client.post(_url("orders_draftorder_change", order.id), changed)
    order.refresh_from_db()
    assert order.status == Status.READY


def test_an_edit_takes_back_the_approval_and_looking_does_not(org: Org, approver: User) -> None:
    order = _approved(org, approver)
    client = _client(approver)
    url = _url("orders_draftorder_change", order.id)
    assert client.post(url, _order_data(order)).status_code == 302
    order.refresh_from_db()
    assert order.status == Status.APPROVED
    assert client.post(url, _order_data(order, **{"lines-0-qty": "3"})).status_code == 302
    order.refresh_from_db()
    assert (order.status, order.approved_by) == (Status.READY, None)
    assert order.lines.get().qty == 3


def test_an_order_on_its_way_is_not_edited(
    org: Org, connection: ErpConnection, approver: User
) -> None:
    order = _approved(org, approver)
    client = _client(approver)
    url = _url("orders_draftorder_change", order.id)
    changed = _order_data(order, notes="late")

    # Somebody pushes it between the check of the form and the saving.
    editing = workflow.editing

    def pushed_before(order_id: Any, *, actor: User) -> Any:
        push_order(order.id, actor=approver)
        return editing(order_id, actor=actor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workflow, "editing", pushed_before)
        said = _messages(client.post(url, changed, follow=True))
    assert said == ["Order PO-1 has the status “pushing” and can no longer be edited."]

    # The push was part of the same transaction, so it was taken back with the rest.
    push_order(order.id, actor=approver)
    said = _messages(client.post(url, changed, follow=True))
    assert said == ["Order PO-1 has the status “pushing” and can no longer be edited."]
    order.refresh_from_db()
    assert (order.notes, order.status) == ("", Status.PUSHING)


def test_lines_can_swap_their_numbers(root: Client, org: Org) -> None:
    order = _order(org)
    DraftOrderLine.objects.create(order=order, line_no=2, internal_sku="T", qty=1, uom="PCE")
    ids = list(order.lines.values_list("id", flat=True))
    url = _url("orders_draftorder_change", order.id)
    root.post(url, _order_data(order, **{"lines-0-line_no": "2", "lines-1-line_no": "1"}))
    assert list(order.lines.values_list("internal_sku", "line_no")) == [("T", 1), ("S", 2)]
    assert set(order.lines.values_list("id", flat=True)) == set(ids)
    page = root.post(url, _order_data(order, **{"lines-0-line_no": "2"}))
    assert "Please correct the duplicate data for line_no" in _text(page)


def test_a_line_can_take_the_number_of_a_deleted_one(root: Client, org: Org) -> None:
    order = _order(org)
    data = _order_data(order) | {
        "lines-0-DELETE": "on",
        "lines-1-line_no": "1",
        "lines-1-internal_sku": "NEW",
        "lines-1-qty": "1",
    }
    root.post(_url("orders_draftorder_change", order.id), data)
    assert order.lines.get().internal_sku == "NEW"


def test_an_order_changed_since_its_approval_can_be_approved_again(
    org: Org, approver: User
) -> None:
    order = _approved(org, approver)
    assert order.customer
    client = _client(approver)
    data = {"name": "Renamed", "erp_customer_number": order.customer.erp_customer_number}
    client.post(_url("orders_customer_change", order.customer_id), data)
    page = _text(client.get(_url("orders_draftorder_change", order.id)))
    assert "has changed since it was approved" in page
    assert f"{_decide('approve')}?order={order.id}" in page


def test_a_customer_number_makes_waiting_orders_ready(org: Org, approver: User) -> None:
    order = _order(org, customer=Customer.objects.create(org=org, name="New"))
    assert order.status == Status.NEEDS_REVIEW
    data = {"name": "New", "erp_customer_number": "77"}
    _client(approver).post(_url("orders_customer_change", order.customer_id), data)
    order.refresh_from_db()
    assert order.status == Status.READY


def test_search_finds_number_customer_and_customer_number(org: Org, approver: User) -> None:
    _order(org, "PO-1")
    _order(org, "PO-2")
    client = _client(approver)
    for words in ("PO-1", "Customer of PO-1", "C-PO-1"):
        page = _text(client.get(_url("orders_draftorder_changelist"), {"q": words}))
        assert "1 result" in page


# What orders say is text, not markup.
def test_markup_in_orders_is_escaped_everywhere(
    connection: ErpConnection, org: Org, approver: User, root: Client
) -> None:
    Org.objects.filter(id=org.id).update(name=XSS)
    org.refresh_from_db()
    customer = Customer.objects.create(org=org, name=XSS, erp_customer_number=XSS)
    order = _order(org, XSS, customer=customer, notes=XSS)
    order.lines.update(description=XSS, customer_sku_raw=XSS)
    twin = _order(org, XSS, customer=customer)
    urls = [
        *(f"{_decide(name)}?order={order.id}" for name in ("approve", "push", "retry", "reject")),
        _url("orders_draftorder_change", twin.id),
    ]
    pages = [root.get(url) for url in urls]
    workflow.approve(order.id, actor=approver, confirm_warnings=True)
    export = push_order(order.id, actor=approver)
    cancel_export(export.id, actor=approver, reason=XSS)
    ErpExport.objects.filter(id=export.id).update(
        error_json={"code": XSS, "message": XSS, "hint": XSS, "owner": XSS}, erp_order_id=XSS
    )
    ack = _ack(connection, "MALFORMED", export=export, filename=XSS, raw=XSS, reason=XSS)
    health.pause(connection.id, reason=XSS, actor=approver)
    pages += [
        root.get(url)
        for url in (
            _url("orders_draftorder_changelist"),
            _url("orders_draftorder_change", order.id),
            _url("exports_erpexport_changelist"),
            _url("exports_erpexport_change", export.id),
            _url("exports_erpack_changelist"),
            _url("exports_erpack_change", ack.id),
            _url("connectors_erpconnection_changelist"),
            _url("connectors_erpconnection_change", connection.id),
            _url("connectors_erpconnection_resume", connection.id),
            f"{_decide('push')}?order={order.id}",
        )
    ]
    pages.append(root.post(_decide("push"), {"orders": str(twin.id)}, follow=True))
    for page in pages:
        assert page.status_code == 200
        assert "alert(" in _text(page)
        assert XSS not in _text(page)


# Connections.
SFTP_FORM = {
    "active": "on",
    "config_mode": "sftp",
    "config_host": "erp.example",
    "config_username": "orderflow",
    "config_export_path": "/out",
    "config_atomic_write": "on",
    "config_host_keys": OLD_HOST_KEY,
}


def _new(org: Org, **fields: str) -> dict[str, str]:
    return {"org": str(org.id), "connector_type": "DROPZONE_JSON_V1", **SFTP_FORM, **fields}


def test_a_new_connection_is_saved_and_paused(org: Org, operator: User) -> None:
    client = _client(operator)
    response = client.post(
        _url("connectors_erpconnection_add"),
        _new(org, config_password=CANARY, config_port="2222", ack_deadline="1 00:00:00"),
        follow=True,
    )
    connection = ErpConnection.objects.get()
    assert response.redirect_chain[0][0] == _url("connectors_erpconnection_change", connection.id)
    assert connection.config == {
        "mode": "sftp",
        "host": "erp.example",
        "port": 2222,
        "username": "orderflow",
        "password": CANARY,
        "host_keys": [OLD_HOST_KEY],
        "export_path": "/out",
        "atomic_write": True,
    }
    assert connection.ack_deadline == timedelta(days=1)
    assert connection.pause_reason == NEVER_TESTED
    assert CANARY not in _text(response)
    assert "was not tested" in _text(response)


def test_a_second_connection_of_an_org_is_refused(
    org: Org, sftp: ErpConnection, root: Client
) -> None:
    page = root.post(_url("connectors_erpconnection_add"), _new(org, config_password="x"))
    assert "This organisation has a connection of this type." in _text(page)


@pytest.mark.parametrize(
    ("fields", "name", "reason"),
    [
        ({"config_host": ""}, "host", "This field is required."),
        ({"config_export_path": "out"}, "export_path", "Must be an absolute path"),
        ({"config_ack_path": "/a/../b"}, "ack_path", "Must not contain “..”."),
        ({"config_password": ""}, "password", "Is required unless there is an ssh_key."),
        ({"config_port": "70000"}, "port", "Must lie between 1 and 65535."),
        ({"config_ssh_key": f"{CANARY}"}, "ssh_key", "private key"),
        ({"config_host_keys": "nonsense"}, "host_keys", "Must be public keys"),
        ({"config_mode": "filesystem"}, "host", "Has no meaning in mode “filesystem”."),
    ],
)
def test_a_wrong_configuration_is_said_at_its_field(
    org: Org, operator: User, fields: dict[str, str], name: str, reason: str
) -> None:
    data = _new(org, **{"config_password": CANARY, **fields})
    response = _client(operator).post(_url("connectors_erpconnection_add"), data)
    errors = response.context["adminform"].form.errors
    assert reason in " ".join(errors[f"config_{name}"])
    assert CANARY not in _text(response)
    assert not ErpConnection.objects.exists()


def test_filesystem_ignores_the_empty_fields_of_sftp(
    org: Org, operator: User, dropzone: Path
) -> None:
    empty = dict.fromkeys(("config_host", "config_username", "config_host_keys"), "")
    data = _new(org, config_mode="filesystem", config_export_path=f"{dropzone}/out", **empty)
    _client(operator).post(_url("connectors_erpconnection_add"), data)
    assert ErpConnection.objects.get().config == {
        "mode": "filesystem",
        "export_path": f"{dropzone}/out",
        "atomic_write": True,
    }


def test_a_secret_is_kept_replaced_and_cleared(sftp: ErpConnection, operator: User) -> None:
    client = _client(operator)
    url = _url("connectors_erpconnection_change", sftp.id)

    def save(**fields: str) -> Any:
        response = client.post(url, SFTP_FORM | fields, follow=True)
        sftp.refresh_from_db()
        assert CANARY not in _text(response)
        return response

    page = _text(client.get(url))
    assert "One is set, since " in page
    assert CANARY not in page
    save(config_connect_timeout="20")
    assert sftp.config["password"] == CANARY
    assert sftp.config["connect_timeout"] == 20
    save(config_password=f"{CANARY}-2")
    assert sftp.config["password"] == f"{CANARY}-2"
    refused = save(config_password_clear="on")
    assert "Is required unless there is an ssh_key." in _text(refused)
    assert sftp.config["password"] == f"{CANARY}-2"
    # A secret does not follow to another server.
    assert "Must be entered again because host changed." in _text(save(config_host="evil.example"))
    assert sftp.config["host"] == "erp.example"


def test_the_history_says_what_was_changed_but_no_secret(
    sftp: ErpConnection, operator: User
) -> None:
    client = _client(operator)
    url = _url("connectors_erpconnection_change", sftp.id)
    changes = {"config_host": "new.example", "config_password": f"{CANARY}-2"}
    client.post(url, SFTP_FORM | changes)
    client.post(url, SFTP_FORM | {"config_host": "new.example", "active": ""})
    client.post(url, SFTP_FORM | {"config_host": "new.example", "active": ""})
    history = _text(client.get(_url("connectors_erpconnection_history", sftp.id)))
    assert "Host: erp.example → new.example; Password: replaced." in history
    assert "Changed Active." in history
    assert LogEntry.objects.filter(user=operator).count() == 2
    assert CANARY not in history


def test_clearing_one_of_two_secrets(sftp: ErpConnection, operator: User) -> None:
    key = ed25519.Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()
    )
    sftp.seal({**sftp.config, "ssh_key": key.decode()})
    sftp.save(update_fields=["config_encrypted"])
    data = SFTP_FORM | {"config_password_clear": "on"}
    _client(operator).post(_url("connectors_erpconnection_change", sftp.id), data)
    sftp.refresh_from_db()
    assert "password" not in sftp.config
    assert sftp.config["ssh_key"] == key.decode()


def test_changing_the_mode_drops_the_secrets_of_the_other(
    sftp: ErpConnection, operator: User, dropzone: Path
) -> None:
    data = {
        "active": "on",
        "config_mode": "filesystem",
        "config_export_path": f"{dropzone}/out",
        "config_atomic_write": "on",
    }
    _client(operator).post(_url("connectors_erpconnection_change", sftp.id), data)
    sftp.refresh_from_db()
    assert sftp.config["mode"] == "filesystem"
    assert "password" not in sftp.config


def test_no_page_shows_a_secret(
    org: Org, sftp: ErpConnection, viewer: User, operator: User, root: Client
) -> None:
    health.record_failure(sftp, ConnectorError("AUTH_FAILED", detail=CANARY))
    urls = [
        _url("connectors_erpconnection_changelist"),
        *(
            _url(f"connectors_erpconnection_{name}", sftp.id)
            for name in ("change", "test", "pause", "resume", "history")
        ),
    ]
    for client in (root, _client(operator), _client(viewer)):
        for url in urls:
            assert CANARY not in _text(client.get(url))
    page = _text(_client(viewer).get(urls[1]))
    assert "is set" in page
    assert "erp.example" in page


def test_the_dropzone_stays_while_exports_are_staged_there(
    org: Org, connection: ErpConnection, approver: User, operator: User, dropzone: Path
) -> None:
    export = push_order(_approved(org, approver).id, actor=approver)
    ErpExport.objects.filter(id=export.id).update(
        staged_path="/x", staged_at=timezone.now(), destination={"mode": "x"}
    )
    data = {
        "config_mode": "filesystem",
        "config_export_path": f"{dropzone}/acks",
        "config_atomic_write": "on",
    }
    url = _url("connectors_erpconnection_change", connection.id)
    response = _client(operator).post(url, data)
    (error,) = response.context["adminform"].form.errors["config_export_path"]
    assert export.filename in error
    connection.refresh_from_db()
    assert connection.config["export_path"] == f"{dropzone}/out"
    # What is not the dropzone's identity can still be changed.
    data |= {"config_export_path": f"{dropzone}/out", "config_file_mode": "0640"}
    assert _client(operator).post(url, data).status_code == 302
    connection.refresh_from_db()
    assert (connection.config["file_mode"], connection.active) == ("0640", False)


def test_a_connection_whose_configuration_cannot_be_read_is_shown(
    sftp: ErpConnection, operator: User, settings: Any
) -> None:
    ErpConnection.objects.filter(id=sftp.id).update(
        config_encrypted=ErpConnection._meta.get_field("config_encrypted").seal({}, owner=1)
    )
    client = _client(operator)
    page = client.get(_url("connectors_erpconnection_change", sftp.id))
    assert "belongs to another connection" in _text(page)
    assert client.get(_url("connectors_erpconnection_changelist")).status_code == 200


def _done(client: Client, url: str) -> str:
    """The page of a connection test that was asked for at `url`, once a worker has done it."""
    result = client.post(url, follow=True).redirect_chain[-1][0]
    connection_tests.run(UUID(result.split("/")[-2]))
    return _text(client.get(result))


def test_the_test_shows_each_step(
    connection: ErpConnection, operator: User, dropzone: Path
) -> None:
    client = _client(operator)
    url = _url("connectors_erpconnection_test", connection.id)
    page = _done(client, url)
    assert "The connection works" in page
    for step in ("Export folder", "Write and sync", "Rename", "Delete", "Free space"):
        assert step in page
    connection.refresh_from_db()
    assert (connection.last_test_success, connection.is_paused) == (True, False)
    assert not list((dropzone / "out").iterdir())

    (dropzone / "out").rmdir()
    page = _done(client, url)
    assert "The test failed" in page
    assert "DIR_MISSING" in page
    assert "ERP admin" in page or "operator" in page
    connection.refresh_from_db()
    assert connection.last_test_success is False


def test_a_test_that_waits_says_for_what(
    connection: ErpConnection, operator: User, viewer: User
) -> None:
    client = _client(operator)
    url = _url("connectors_erpconnection_test", connection.id)
    page = client.post(url, follow=True)
    assert "No worker is running" in _text(page)
    assert 'http-equiv="refresh"' in _text(page)
    result = page.redirect_chain[-1][0]
    workers.register()
    assert "waits for a worker" in _text(client.get(result))
    # Asking again leads to the same test.
    assert client.post(url, follow=True).redirect_chain[-1][0] == result
    ConnectionTest.objects.update(requested_at=timezone.now() - timedelta(minutes=4))
    assert "did not end" in _text(client.get(result))
    assert 'http-equiv="refresh"' not in _text(client.get(result))
    assert client.post(url, follow=True).redirect_chain[-1][0] != result


def test_pin_the_host_key_that_was_shown(sftp: ErpConnection, operator: User) -> None:
    client = _client(operator)
    url = _url("connectors_erpconnection_pin", sftp.id)
    assert client.get(url).status_code == 302
    ErpConnection.objects.filter(id=sftp.id).update(host_key_seen=HOST_KEY)
    page = _text(client.get(url))
    assert page.count("SHA256:") == 2
    assert url in _text(client.get(_url("connectors_erpconnection_change", sftp.id)))
    client.post(url, {"host_key": OLD_HOST_KEY})
    sftp.refresh_from_db()
    assert sftp.config["host_keys"] == [OLD_HOST_KEY]
    client.post(url, {"host_key": HOST_KEY})
    sftp.refresh_from_db()
    assert sftp.config["host_keys"] == [HOST_KEY]
    assert sftp.config["password"] == CANARY


def test_the_fingerprint_is_the_one_that_ssh_shows() -> None:
    from connectors.dropzone import ssh
    from connectors.operating_admin import fingerprint

    assert fingerprint(HOST_KEY) == ssh.fingerprint(HOST_KEY)
    assert fingerprint("nonsense") == "unreadable"


def test_an_untested_connection_is_not_resumed(connection: ErpConnection, operator: User) -> None:
    ErpConnection.objects.update(last_test_success=None)
    client = _client(operator)
    client.post(_url("connectors_erpconnection_pause", connection.id), {"reason": "Holiday"})
    page = client.post(_url("connectors_erpconnection_resume", connection.id), follow=True)
    assert "resumes by itself when its test passes" in _messages(page)[-1]
    connection.refresh_from_db()
    assert (connection.pause_reason, connection.paused_by) == (NEVER_TESTED, None)
    assert health.run_test(connection).success
    connection.refresh_from_db()
    assert not connection.is_paused


def test_pause_and_resume(connection: ErpConnection, operator: User) -> None:
    assert health.run_test(connection).success
    client = _client(operator)
    pause = _url("connectors_erpconnection_pause", connection.id)
    assert "This field is required." in _text(client.post(pause, {"reason": " "}))
    client.post(pause, {"reason": "ERP is down for the weekend"})
    connection.refresh_from_db()
    assert (connection.pause_reason, connection.paused_by) == (
        "ERP is down for the weekend",
        operator,
    )
    page = _text(client.get(_url("connectors_erpconnection_change", connection.id)))
    assert "ERP is down for the weekend (oskar)" in page
    client.post(_url("connectors_erpconnection_resume", connection.id))
    connection.refresh_from_db()
    assert not connection.is_paused


def test_deliver_now_lifts_what_put_it_off(
    org: Org, connection: ErpConnection, approver: User, operator: User
) -> None:
    undecided, put_off = (
        push_order(_approved(org, approver, number).id, actor=approver) for number in ("A", "B")
    )
    _needs_a_decision(undecided, Path("/nowhere"))
    later = timezone.now() + timedelta(hours=1)
    ErpExport.objects.filter(id=put_off.id).update(next_attempt_at=later)
    client = _client(operator)
    url = _url("connectors_erpconnection_deliver", connection.id)
    assert "goes when it resumes" in _text(client.get(url))
    assert url not in _text(client.get(_url("connectors_erpconnection_change", connection.id)))
    page = client.post(url, follow=True)
    assert _messages(page) == ["The connection is paused. What waits goes when it resumes."]
    assert health.run_test(connection).success
    ErpConnection.objects.update(retry_at=later, failures=3)
    assert url in _text(client.get(_url("connectors_erpconnection_change", connection.id)))
    assert "What was sent is not sent twice" in _text(client.get(url))
    assert not due_connections().exists()
    page = client.post(url, follow=True)
    assert _messages(page) == ["A worker delivers now."]
    assert due_connections().get() == connection
    undecided.refresh_from_db()
    assert undecided.next_attempt_at is None
    event = put_off.events.last()
    assert event
    assert (event.kind, event.actor) == ("REQUESTED", operator)


# Exports.
@pytest.fixture
def export(org: Org, connection: ErpConnection, approver: User) -> Iterator[ErpExport]:
    return push_order(_approved(org, approver).id, actor=approver)


def test_the_payload_is_shown_and_downloaded_as_it_is(export: ErpExport, viewer: User) -> None:
    client = _client(viewer)
    page = _text(client.get(_url("exports_erpexport_change", export.id)))
    assert 'key">&quot;qty&quot;</span>: <span class="json-number">2.5</span>' in page
    response = client.get(_url("exports_erpexport_payload", export.id))
    assert response.content == export.content
    assert response["Content-Disposition"] == f'attachment; filename="{export.filename}"'
    ErpExport.objects.filter(id=export.id).update(
        payload=None, archived_at=Now(), payload_pruned_at=Now(), status="FAILED"
    )
    assert client.get(_url("exports_erpexport_payload", export.id)).status_code == 404
    assert "the archive has it" in _text(client.get(_url("exports_erpexport_change", export.id)))


def test_cancel_an_export_with_a_reason(export: ErpExport, operator: User) -> None:
    client = _client(operator)
    url = _url("exports_erpexport_cancel", export.id)
    assert "This field is required." in _text(client.post(url))
    page = client.post(url, {"reason": "Wrong customer"}, follow=True)
    assert _messages(page) == ["The export was cancelled."]
    assert "Wrong customer" in _text(page)
    export.refresh_from_db()
    assert export.status == ErpExport.Status.FAILED
    assert export.draft_order.status == Status.APPROVED
    said = _messages(client.post(url, {"reason": "Again"}, follow=True))
    assert said == ["The export is on its way or finished: it cannot be cancelled."]


def test_a_waiting_export_is_delivered_again(
    export: ErpExport, operator: User, viewer: User
) -> None:
    ErpExport.objects.update(attempts=1, next_attempt_at=None)
    url = _url("exports_erpexport_deliver", export.id)
    assert "is not sent twice" in _text(_client(operator).get(url))
    export.refresh_from_db()
    assert export.next_attempt_at is None
    assert _client(viewer).post(url).status_code == 403
    page = _client(operator).post(url, follow=True)
    assert _messages(page) == ["The export is delivered again now."]
    export.refresh_from_db()
    assert export.next_attempt_at is not None


def _needs_a_decision(export: ErpExport, dropzone: Path) -> None:
    """As after an attempt whose outcome nobody knows."""
    ErpExport.objects.filter(id=export.id).update(
        attempts=1,
        next_attempt_at=None,
        staged_path=f"{dropzone}/{export.filename}.1.tmp",
        staged_at=timezone.now(),
        destination={"mode": "filesystem", "folder": str(dropzone)},
        error_json=ConnectorError("OUTCOME_UNKNOWN").as_json(),
    )


def test_settle_an_export_whose_outcome_is_unknown(
    export: ErpExport, operator: User, dropzone: Path
) -> None:
    _needs_a_decision(export, dropzone)
    client = _client(operator)
    exports = client.get(_url("exports_erpexport_changelist"), {"needs_decision": "yes"})
    assert export.filename in _text(exports)
    assert "Settle by hand" in _text(client.get(_url("exports_erpexport_change", export.id)))
    url = _url("exports_erpexport_settle", export.id)
    answer = {"outcome": "NOT_DELIVERED", "reason": "Not in the ERP", "confirmation": "yes"}
    assert "This is not the name of the file." in _text(client.post(url, answer))
    answer |= {"confirmation": export.filename, "push_again": "on"}
    page = client.post(url, answer, follow=True)
    assert _messages(page) == ["The export was settled."]
    assert "Not in the ERP" in _text(page)
    statuses = export.draft_order.exports.values_list("status", flat=True)
    assert sorted(statuses) == ["FAILED", "PENDING"]
    assert _messages(client.get(url, follow=True)) == ["There is nothing to settle."]


def test_settling_says_what_stands_in_the_way(
    export: ErpExport, operator: User, dropzone: Path
) -> None:
    _needs_a_decision(export, dropzone)
    folder = Path(export.erp_connection.config["export_path"])
    ErpExport.objects.update(destination={"mode": "filesystem", "folder": str(folder)})
    (folder / export.filename).write_text("{}")
    page = _client(operator).post(
        _url("exports_erpexport_settle", export.id),
        {"outcome": "NOT_DELIVERED", "reason": "?", "confirmation": export.filename},
        follow=True,
    )
    assert "lies in the export folder" in _messages(page)[0]
    export.refresh_from_db()
    assert export.status == "PENDING"


def test_search_finds_file_order_and_erp_number(export: ErpExport, viewer: User) -> None:
    ErpExport.objects.filter(id=export.id).update(erp_order_id="ERP-77")
    client = _client(viewer)
    for words, count in ((export.filename, 1), ("PO-1", 1), ("ERP-77", 1), ("nothing", 0)):
        page = _text(client.get(_url("exports_erpexport_changelist"), {"q": words}))
        assert f"{count} result" in page


def test_the_task_queue_is_not_in_the_admin(root: Client) -> None:
    for model in apps.get_app_config("django_q").get_models():
        assert not admin.site.is_registered(model)
    assert root.get("/admin/django_q/schedule/").status_code == 404


# Tokens.
def test_a_token_is_shown_once(root: Client, org: Org, approver: User) -> None:
    data = {
        "user": str(approver.id),
        "org": str(org.id),
        "name": "shop",
        "expires_at_0": "2999-01-01",
        "expires_at_1": "00:00:00",
    }
    url = _url("accounts_apitoken_add")
    response = root.post(url, data)
    (text,) = re.findall(r"<code class=\"token\">(oft_[\w-]+)</code>", _text(response))
    assert text not in str(root.cookies)
    assert "no-store" in response["Cache-Control"]
    token = find_token(text)
    assert token is not None
    assert (token.user, token.org, token.name) == (approver, org, "shop")
    assert text not in _text(root.get(_url("accounts_apitoken_changelist")))
    page = _text(root.get(_url("accounts_apitoken_change", token.id)))
    assert text not in page
    assert token.digest not in page
    assert "_save" not in page


def test_a_token_for_a_stranger_of_the_org_is_refused(
    root: Client, other_org: Org, approver: User
) -> None:
    data = {"user": str(approver.id), "org": str(other_org.id), "name": "shop"}
    page = _text(root.post(_url("accounts_apitoken_add"), data))
    assert "ann is not a member of Umbrella" in page
    assert not ApiToken.objects.exists()


def test_a_token_is_revoked_after_confirmation(root: Client, org: Org, approver: User) -> None:
    from accounts.tokens import create_token

    token, text = create_token(approver, org=org, name="shop")
    data = {"action": "revoke", "_selected_action": [str(token.id)]}
    url = _url("accounts_apitoken_changelist")
    assert "stop working" in _text(root.post(url, data))
    assert find_token(text)
    assert "was revoked" in _text(root.post(url, data | {"confirmed": "yes"}, follow=True))
    assert find_token(text) is None


def test_nobody_gets_in_without_logging_in() -> None:
    client = Client()
    for name in ("index", "orders_draftorder_changelist", "accounts_user_changelist"):
        response = client.get(_url(name), follow=True)
        assert "Log in" in _text(response)
        assert "Orders" not in _text(response)

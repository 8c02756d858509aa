"""The admin: who sees and may do what."""

import re
from pathlib import Path

import pytest
from django.apps import apps
from django.contrib import admin
from django.test import Client

from accounts.models import ApiToken, Org, User
from accounts.tokens import create_token, find_token
from connectors.configuring import create_connection
from connectors.errors import ConnectorError
from connectors.models import ErpConnection
from exports.delivery.outcomes import fail
from exports.models import Batch, ErpAck
from exports.pushing.batches import create_batch
from exports.pushing.push import push_order
from orders.models import Customer, DraftOrder, SourceDocument
from tests.support.admins import (
    a_member,
    an_ack,
    decide_url,
    logged_in,
    needs_a_decision,
    page_url,
    text,
)
from tests.support.builders import an_approved_order, an_order
from tests.support.order_forms import line_data, order_data
from tests.support.tables import tables

pytestmark = pytest.mark.django_db

Status = DraftOrder.Status


def a_batch(order: DraftOrder, actor: User) -> Batch:
    orders = DraftOrder.objects.filter(id=order.id)
    return create_batch(order.org, action="reject", orders=orders, actor=actor)


def a_conflict(connection: ErpConnection, actor: User) -> ErpAck:
    """The ERP accepts an order whose export has failed."""
    export = push_order(an_approved_order(connection.org, actor, "PO-conflict").id, actor=actor)
    fail(export, ConnectorError("NOT_EXPORTABLE").as_json())
    return an_ack(connection, "CONFLICT", export=export)


# Orgs.
@pytest.mark.parametrize("name", ["draftorder", "customer", "sourcedocument"])
def test_lists_show_only_the_orgs_of_the_user(
    org: Org, other_org: Org, approver: User, name: str
) -> None:
    for owner in (org, other_org):
        an_order(owner, f"PO-{owner.slug}")
        Customer.objects.create(org=owner, name=f"Buyer {owner.slug}")
        SourceDocument.objects.create(org=owner, file_name=f"{owner.slug}.pdf", sha256="0" * 64)
    page = text(logged_in(approver).get(page_url(f"orders_{name}_changelist")))
    assert org.slug in page
    assert other_org.slug not in page
    assert other_org.name not in page


def test_objects_of_other_orgs_are_not_found(
    other_org: Org, org: Org, approver: User, oskar: User, folder: Path, root: Client
) -> None:
    config = {"mode": "filesystem", "export_path": f"{folder}/out"}
    connection = create_connection(other_org, connector_type="DROPZONE_JSON_V1", config=config)
    stranger = a_member(other_org, "stranger", "Approver")
    export = push_order(an_approved_order(other_org, stranger).id, actor=stranger)
    customer = Customer.objects.get(org=other_org)
    ack = an_ack(connection, "UNMATCHED")
    pages = {
        approver: [
            page_url("orders_draftorder_change", export.draft_order_id),
            page_url("orders_draftorder_history", export.draft_order_id),
            decide_url("push") + f"?order={export.draft_order_id}",
            page_url("orders_customer_change", customer.id),
            page_url("exports_erpexport_change", export.id),
            page_url("exports_erpexport_payload", export.id),
            page_url("exports_erpexport_cancel", export.id),
            page_url("accounts_org_change", other_org.id),
        ],
        oskar: [
            page_url("exports_erpexport_resolve", export.id),
            *(
                page_url(f"exports_erpack_{name}", ack.id)
                for name in ("change", "assign", "accept", "dismiss")
            ),
            page_url("connectors_erpconnection_change", connection.id),
            *(
                page_url(f"connectors_erpconnection_{name}", connection.id)
                for name in ("test", "poll", "deliver", "pin", "pause", "resume")
            ),
        ],
    }
    for user, urls in pages.items():
        client = logged_in(user)
        for url in urls:
            response = client.get(url)
            # Django's own pages lead to the index with a message that there is no such object.
            assert response.status_code in (302, 404), url
            assert root.get(url).status_code in (200, 302)
    client = logged_in(approver)
    before = tables()
    assert (
        client.post(decide_url("reject"), {"orders": str(export.draft_order_id)}).status_code == 404
    )
    url = page_url("exports_erpexport_cancel", export.id)
    assert client.post(url, {"reason": "x"}).status_code == 404
    assert tables() == before


def test_choices_are_of_the_orgs_of_the_user(org: Org, other_org: Org, approver: User) -> None:
    foreign = Customer.objects.create(org=other_org, name="Foreign buyer")
    own = Customer.objects.create(org=org, name="Own buyer")
    client = logged_in(approver)
    page = text(client.get(page_url("orders_draftorder_add")))
    assert "Own buyer" in page
    assert "Foreign buyer" not in page
    assert "Umbrella" not in page
    data = {"org": str(org.id), "customer": str(foreign.id), **line_data()}
    page = text(client.post(page_url("orders_draftorder_add"), data))
    assert "Select a valid choice" in page
    assert "Foreign buyer" not in page
    data = {"org": str(other_org.id), "customer": str(own.id), **line_data()}
    assert "Select a valid choice" in text(client.post(page_url("orders_draftorder_add"), data))
    assert not DraftOrder.objects.exists()


def test_an_order_takes_no_customer_of_another_org(root: Client, org: Org, other_org: Org) -> None:
    foreign = Customer.objects.create(org=other_org, name="Foreign buyer")
    data = {"org": str(org.id), "customer": str(foreign.id), **line_data()}
    assert "Choose one of Acme." in text(root.post(page_url("orders_draftorder_add"), data))
    order = an_order(org)
    page = root.post(
        page_url("orders_draftorder_change", order.id), order_data(order, customer=str(foreign.id))
    )
    assert "Select a valid choice" in text(page)


def test_an_object_never_moves_to_another_org(root: Client, org: Org, other_org: Org) -> None:
    customer = Customer.objects.create(org=org, name="Buyer")
    data = {"org": str(other_org.id), "name": "Renamed", "erp_customer_number": ""}
    root.post(page_url("orders_customer_change", customer.id), data)
    customer.refresh_from_db()
    assert (customer.name, customer.org) == ("Renamed", org)


def test_a_customer_number_is_taken_once(root: Client, org: Org) -> None:
    Customer.objects.create(org=org, name="First", erp_customer_number="7")
    second = Customer.objects.create(org=org, name="Second")
    data = {"name": "Second", "erp_customer_number": "7"}
    page = text(root.post(page_url("orders_customer_change", second.id), data))
    assert "Another customer has this ERP customer number." in page


# Permissions.
def test_pages_by_permission(
    org: Org, connection: ErpConnection, vera: User, approver: User, oskar: User
) -> None:
    export = push_order(an_approved_order(org, approver).id, actor=approver)
    needs_a_decision(export, Path("/nowhere"))
    unmatched = an_ack(connection, "UNMATCHED")
    conflict = a_conflict(connection, approver)
    order = an_order(org, "PO-2")
    batch = a_batch(order, approver)
    every = {vera, approver, oskar}
    allowed = {
        page_url("orders_draftorder_changelist"): every,
        page_url("orders_draftorder_change", order.id): every,
        page_url("orders_draftorder_add"): {approver},
        page_url("orders_draftorder_csv"): every,
        page_url("exports_erpexport_csv"): every,
        page_url("exports_erpexport_failures"): every,
        page_url("exports_erpack_csv"): every,
        page_url("exports_batch_changelist"): every,
        page_url("exports_batch_change", batch.id): every,
        page_url("exports_batch_cancel", batch.id): {approver},
        page_url("exports_batchitem_changelist"): every,
        page_url("exports_batchitem_csv"): every,
        decide_url("approve") + f"?order={order.id}": {approver},
        decide_url("reject") + f"?order={order.id}": {approver},
        decide_url("push") + f"?order={order.id}": {approver, oskar},
        decide_url("retry") + f"?order={order.id}": {approver, oskar},
        page_url("exports_erpexport_changelist"): every,
        page_url("exports_erpexport_change", export.id): every,
        page_url("exports_erpexport_payload", export.id): every,
        page_url("exports_erpexport_cancel", export.id): {approver, oskar},
        page_url("exports_erpexport_resolve", export.id): {oskar},
        page_url("exports_erpack_changelist"): every,
        page_url("exports_erpack_change", unmatched.id): every,
        page_url("exports_erpack_assign", unmatched.id): {oskar},
        page_url("exports_erpack_dismiss", unmatched.id): {oskar},
        page_url("exports_erpack_accept", conflict.id): {oskar},
        page_url("connectors_erpconnection_changelist"): every,
        page_url("connectors_erpconnection_change", connection.id): every,
        page_url("connectors_erpconnection_add"): {oskar},
        page_url("connectors_erpconnection_test", connection.id): {oskar},
        page_url("connectors_erpconnection_poll", connection.id): {oskar},
        page_url("connectors_erpconnection_deliver", connection.id): {approver, oskar},
        page_url("connectors_erpconnection_pause", connection.id): {oskar},
        page_url("connectors_erpconnection_resume", connection.id): {oskar},
        page_url("accounts_user_changelist"): set(),
        page_url("accounts_apitoken_changelist"): set(),
        # Nobody, superusers included.
        page_url("exports_batch_add"): set(),
        page_url("exports_batch_delete", batch.id): set(),
        page_url("exports_erpexport_add"): set(),
        page_url("exports_erpexport_delete", export.id): set(),
        page_url("exports_erpack_add"): set(),
        page_url("exports_erpack_delete", unmatched.id): set(),
        page_url("connectors_erpconnection_delete", connection.id): set(),
        page_url("orders_draftorder_delete", order.id): set(),
    }
    for user in every:
        client = logged_in(user)
        for url, users in allowed.items():
            assert client.get(url).status_code == (200 if user in users else 403), (user, url)


def test_posts_without_permission_change_nothing(
    org: Org, connection: ErpConnection, vera: User, approver: User
) -> None:
    export = push_order(an_approved_order(org, approver).id, actor=approver)
    unmatched, conflict = an_ack(connection, "UNMATCHED"), a_conflict(connection, approver)
    order = an_order(org, "PO-2")
    posts = [
        *(decide_url(name) for name in ("approve", "push", "retry", "reject")),
        page_url("orders_draftorder_change", order.id),
        page_url("exports_erpexport_change", export.id),
        page_url("exports_erpexport_cancel", export.id),
        page_url("exports_erpexport_resolve", export.id),
        page_url("exports_erpack_change", unmatched.id),
        page_url("exports_erpack_assign", unmatched.id),
        page_url("exports_erpack_dismiss", unmatched.id),
        page_url("exports_erpack_accept", conflict.id),
        page_url("connectors_erpconnection_change", connection.id),
        *(
            page_url(f"connectors_erpconnection_{name}", connection.id)
            for name in ("test", "poll", "deliver", "pin", "pause", "resume")
        ),
    ]
    client = logged_in(vera)
    before = tables()
    for url in posts:
        data = {"orders": str(order.id), "reason": "x", **order_data(order, currency="USD")}
        assert client.post(url, data).status_code == 403, url
    assert tables() == before


def test_actions_of_the_list_are_those_of_the_permissions(
    org: Org, vera: User, approver: User, oskar: User
) -> None:
    an_order(org)
    names = {}
    for user in (vera, approver, oskar):
        page = text(logged_in(user).get(page_url("orders_draftorder_changelist")))
        names[user.username] = re.findall(r'<option value="(\w+)_orders">', page)
    assert names == {
        "vera": [],
        "ann": ["approve", "push", "retry", "reject"],
        "oskar": ["push", "retry"],
    }


def test_every_form_asks_for_the_csrf_token(
    org: Org, connection: ErpConnection, approver: User, root: Client
) -> None:
    export = push_order(an_approved_order(org, approver).id, actor=approver)
    needs_a_decision(export, Path("/nowhere"))
    unmatched, conflict = an_ack(connection, "UNMATCHED"), a_conflict(connection, approver)
    strict = logged_in(User.objects.get(username="root"), enforce_csrf_checks=True)
    before = tables()
    for url in (
        decide_url("reject"),
        page_url("orders_draftorder_changelist"),
        page_url("exports_erpexport_cancel", export.id),
        page_url("exports_erpexport_resolve", export.id),
        page_url("exports_erpack_assign", unmatched.id),
        page_url("exports_erpack_dismiss", unmatched.id),
        page_url("exports_erpack_accept", conflict.id),
        *(
            page_url(f"connectors_erpconnection_{name}", connection.id)
            for name in ("change", "test", "poll", "deliver", "pin", "pause", "resume")
        ),
    ):
        assert strict.post(url, {"orders": str(export.draft_order_id)}).status_code == 403, url
        # It is the token that is missing, not something else.
        assert "csrfmiddlewaretoken" in text(
            root.get(url.replace("reject/", f"reject/?order={export.draft_order_id}"), follow=True)
        )
    assert tables() == before


def test_the_confirmation_of_a_list_action_changes_nothing(
    org: Org, connection: ErpConnection, approver: User
) -> None:
    orders = [an_order(org), an_approved_order(org, approver, "PO-2")]
    client = logged_in(approver)
    before = tables()
    for name in ("approve", "push", "retry", "reject"):
        data = {"action": f"{name}_orders", "_selected_action": [str(o.id) for o in orders]}
        response = client.post(page_url("orders_draftorder_changelist"), data)
        assert f'action="{decide_url(name)}"' in text(response)
    assert tables() == before


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
    url = page_url("accounts_apitoken_add")
    response = root.post(url, data)
    (token_text,) = re.findall(r"<code class=\"token\">(oft_[\w-]+)</code>", text(response))
    assert token_text not in str(root.cookies)
    assert "no-store" in response["Cache-Control"]
    token = find_token(token_text)
    assert token is not None
    assert (token.user, token.org, token.name) == (approver, org, "shop")
    assert token_text not in text(root.get(page_url("accounts_apitoken_changelist")))
    page = text(root.get(page_url("accounts_apitoken_change", token.id)))
    assert token_text not in page
    assert token.digest not in page
    assert "_save" not in page


def test_a_token_for_a_stranger_of_the_org_is_refused(
    root: Client, other_org: Org, approver: User
) -> None:
    data = {"user": str(approver.id), "org": str(other_org.id), "name": "shop"}
    page = text(root.post(page_url("accounts_apitoken_add"), data))
    assert "ann is not a member of Umbrella" in page
    assert not ApiToken.objects.exists()


def test_a_token_is_revoked_after_confirmation(root: Client, org: Org, approver: User) -> None:
    token, token_text = create_token(approver, org=org, name="shop")
    data = {"action": "revoke", "_selected_action": [str(token.id)]}
    url = page_url("accounts_apitoken_changelist")
    assert "stop working" in text(root.post(url, data))
    assert find_token(token_text)
    assert "was revoked" in text(root.post(url, data | {"confirmed": "yes"}, follow=True))
    assert find_token(token_text) is None


def test_nobody_gets_in_without_logging_in() -> None:
    client = Client()
    for name in ("index", "orders_draftorder_changelist", "accounts_user_changelist"):
        response = client.get(page_url(name), follow=True)
        assert "Log in" in text(response)
        assert "Orders" not in text(response)

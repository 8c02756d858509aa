"""The audit log: each deed once and with its change, from everywhere, without secrets, for good."""

import json
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.core.management import call_command
from django.db import IntegrityError, transaction
from django.test import Client, RequestFactory
from django.urls import reverse
from rest_framework.test import APIClient

from accounts import origin
from accounts.audit import Action
from accounts.models import ApiToken, AuditEntry, Org, User
from accounts.tokens import create_token, revoke_token
from connectors import configuring, health
from connectors.models import ErpConnection
from exports import batches
from exports.acks import poll
from exports.delivery import deliver
from exports.models import Batch, ErpAck, ErpExport
from exports.push import cancel_export, push_order, push_orders, retry_order
from exports.settlement import Outcome, settle
from notifications.models import Webhook
from notifications.webhooks import create_webhook
from orderflow.rehearsal import rehearsal
from orders import workflow
from orders.errors import Refused
from orders.models import DraftOrder
from tests import api as rest
from tests.admins import a_member, logged_in, text
from tests.builders import a_connection, a_user, an_approved_order, an_order, an_org
from tests.dropzones import Dropzone, dropzone_of

pytestmark = pytest.mark.django_db

WEBHOOK = "https://hooks.example.com/orders"
ADDRESS = "192.0.2.1"
REQUEST_ID = "request-4711"
CANARY = "canary-4711"
HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE8vC6FJqMvQmX5bL4hLJ7eIqyGZyS0iVb2ZC0mZpJtW"
SFTP = {
    "mode": "sftp",
    "host": "sftp.example.com",
    "username": "u",
    "password": CANARY,
    "export_path": "/exports",
}


class World:
    """An org with a connection, and ann, who may do everything there."""

    def __init__(self, org: Org, dropzone: Dropzone) -> None:
        self.org = org
        self.dropzone = dropzone
        self.ann = a_user(org)
        User.objects.filter(id=self.ann.id).update(is_staff=True, is_superuser=True)
        self.ann.refresh_from_db()
        self.erp = a_connection(org, dropzone.config)
        headers = {"X-Request-ID": REQUEST_ID}
        self.client = Client(REMOTE_ADDR=ADDRESS, headers=headers)
        self.client.force_login(self.ann)
        _, token = create_token(self.ann, org=org, name="test")
        self.api = APIClient(
            REMOTE_ADDR=ADDRESS, headers={"Authorization": f"Bearer {token}", **headers}
        )

    def ready(self, number: str = "PO-1") -> DraftOrder:
        return an_order(self.org, number)

    def approved(self, number: str = "PO-1") -> DraftOrder:
        return an_approved_order(self.org, self.ann, number)

    def export(self, number: str = "PO-1") -> ErpExport:
        return push_order(self.approved(number).id, actor=self.ann)

    def failed(self) -> ErpExport:
        export = self.export()
        cancel_export(export.id, actor=self.ann)
        return export

    def sent(self) -> ErpExport:
        export = self.export()
        assert deliver(self.erp.id).sent == 1
        return export

    def ack(self, name: str, **content: str) -> ErpAck:
        """What a poll makes of a file that the ERP writes."""
        (self.dropzone.acks / name).write_text(json.dumps(content))
        poll(self.erp.id)
        return ErpAck.objects.get(filename=name)

    def typo(self) -> ErpAck:
        self.sent()
        return self.ack("ack_sales_order_typo.json", status="ACKED", erp_order_id="SO-1")

    def conflict(self) -> ErpAck:
        export = self.sent()
        self.ack(f"error_{export.filename}", status="FAILED", message="No such customer")
        return self.ack(f"ack_{export.filename}", status="ACKED", erp_order_id="SO-1")

    def sftp(self) -> ErpConnection:
        configuring.change_config(self.erp, SFTP)
        return self.erp

    def batch(self) -> Batch:
        self.ready()
        orders = DraftOrder.objects.filter(org=self.org)
        return batches.create_batch(self.org, action="approve", orders=orders, actor=self.ann)

    def webhook(self) -> Webhook:
        types = ["export.acked"]
        return create_webhook(self.org, url=WEBHOOK, event_types=types, actor=self.ann)[0]

    def ask(self, method: str, path: str, body: Any = None) -> None:
        response = rest.send(self.api, method, f"/api/v1/{path}", {} if body is None else body)
        assert response.status_code < 300, response.content

    def post(self, name: str, /, *args: object, **data: Any) -> None:
        """Send a form of the admin, and check that it leads on."""
        url = reverse(f"admin:{name}", args=args)
        response = self.client.post(url, {key: str(value) for key, value in data.items()})
        assert response.status_code == 302, text(response)

    def decide(self, name: str, *orders: DraftOrder) -> None:
        url = reverse("admin:orders_draftorder_decide", args=[name])
        for order in orders:
            assert self.client.get(url, {"order": str(order.id)}).status_code == 200
        keys = " ".join(str(order.id) for order in orders)
        assert self.client.post(url, {"orders": keys}).status_code == 302


@pytest.fixture
def dropzone(request: pytest.FixtureRequest) -> Iterator[Dropzone]:
    with dropzone_of("filesystem", request) as dropzone:
        yield dropzone


@pytest.fixture
def world(dropzone: Dropzone, settings: Any) -> World:
    settings.SECURE_SSL_REDIRECT = False
    return World(an_org(), dropzone)


def entries_since(first: int) -> list[AuditEntry]:
    return list(AuditEntry.objects.filter(id__gt=first).order_by("id"))


def latest() -> AuditEntry:
    return AuditEntry.objects.latest("id")


def last_id() -> int:
    return latest().id


# A deed prepares what it needs, yields, and is done when it goes on.
Deed = Callable[[World], Iterator[None]]
BY_API: dict[Action, Deed] = {}
BY_ADMIN: dict[Action, Deed] = {}


def by(door: dict[Action, Deed], action: Action) -> Callable[[Deed], Deed]:
    def register(deed: Deed) -> Deed:
        door[action] = deed
        return deed

    return register


# Orders and exports.
@by(BY_API, Action.ORDER_APPROVED)
def _(w: World) -> Iterator[None]:
    order = w.ready()
    yield
    w.ask("POST", f"draft-orders/{order.id}/approve")


@by(BY_ADMIN, Action.ORDER_APPROVED)
def _(w: World) -> Iterator[None]:
    order = w.ready()
    yield
    w.decide("approve", order)


@by(BY_API, Action.ORDER_REJECTED)
def _(w: World) -> Iterator[None]:
    order = w.ready()
    yield
    w.ask("POST", f"draft-orders/{order.id}/reject")


@by(BY_ADMIN, Action.ORDER_REJECTED)
def _(w: World) -> Iterator[None]:
    order = w.ready()
    yield
    w.decide("reject", order)


@by(BY_API, Action.APPROVAL_WITHDRAWN)
def _(w: World) -> Iterator[None]:
    order = w.approved()
    yield
    w.ask("PATCH", f"draft-orders/{order.id}", {"notes": "urgent"})


@by(BY_ADMIN, Action.APPROVAL_WITHDRAWN)
def _(w: World) -> Iterator[None]:
    order = w.approved()
    (line,) = order.lines.all()
    yield
    w.post(
        "orders_draftorder_change",
        order.id,
        customer=order.customer_id,
        external_order_number="PO-1",
        currency="EUR",
        notes="urgent",
        **{
            "lines-TOTAL_FORMS": 1,
            "lines-INITIAL_FORMS": 1,
            "lines-0-id": line.pk,
            "lines-0-order": order.id,
            "lines-0-line_no": 1,
            "lines-0-internal_sku": line.internal_sku,
            "lines-0-qty": line.qty,
            "lines-0-uom": line.uom,
        },
    )


@by(BY_API, Action.ORDER_PUSHED)
def _(w: World) -> Iterator[None]:
    order = w.approved()
    yield
    w.ask("POST", f"draft-orders/{order.id}/push")


@by(BY_ADMIN, Action.ORDER_PUSHED)
def _(w: World) -> Iterator[None]:
    order = w.approved()
    yield
    w.decide("push", order)


@by(BY_API, Action.ORDER_RETRIED)
def _(w: World) -> Iterator[None]:
    order = w.failed().draft_order
    yield
    w.ask("POST", f"draft-orders/{order.id}/retry-push")


@by(BY_ADMIN, Action.ORDER_RETRIED)
def _(w: World) -> Iterator[None]:
    order = w.failed().draft_order
    yield
    w.decide("retry", order)


@by(BY_API, Action.EXPORT_CANCELLED)
def _(w: World) -> Iterator[None]:
    export = w.export()
    yield
    w.ask("POST", f"erp-exports/{export.id}/cancel", {"reason": "too early"})


@by(BY_ADMIN, Action.EXPORT_CANCELLED)
def _(w: World) -> Iterator[None]:
    export = w.export()
    yield
    w.post("exports_erpexport_cancel", export.id, reason="too early")


@by(BY_ADMIN, Action.EXPORT_SETTLED)
def _(w: World) -> Iterator[None]:
    export = w.sent()
    (w.dropzone.exports / export.filename).unlink()
    yield
    w.post(
        "exports_erpexport_settle",
        export.id,
        outcome="GIVEN_UP",
        reason="The ERP lost it",
        confirmation=export.filename,
    )


@by(BY_ADMIN, Action.EXPORT_REQUESTED)
def _(w: World) -> Iterator[None]:
    export = w.export()
    yield
    w.post("exports_erpexport_deliver", export.id)


# Answers.
@by(BY_ADMIN, Action.ACK_ASSIGNED)
def _(w: World) -> Iterator[None]:
    ack = w.typo()
    export = ErpExport.objects.get()
    yield
    w.post("exports_erpack_assign", ack.id, export=export.id, reason="Asked", confirmed="yes")


@by(BY_ADMIN, Action.ACK_TAKEN)
def _(w: World) -> Iterator[None]:
    ack = w.conflict()
    yield
    w.post("exports_erpack_take", ack.id, reason="Reprocessed")


@by(BY_ADMIN, Action.ACK_DISMISSED)
def _(w: World) -> Iterator[None]:
    ack = w.conflict()
    yield
    w.post("exports_erpack_dismiss", ack.id, reason="Nonsense")


# Batches.
@by(BY_API, Action.BATCH_CREATED)
def _(w: World) -> Iterator[None]:
    order = w.approved()
    yield
    w.ask("POST", "batches", {"action": "push", "orders": [str(order.id)]})


@by(BY_ADMIN, Action.BATCH_CREATED)
def _(w: World) -> Iterator[None]:
    orders = [w.ready(f"PO-{number}") for number in range(51)]
    yield
    url = reverse("admin:orders_draftorder_decide", args=["approve"])
    data = {"orders": " ".join(str(order.id) for order in orders)}
    assert w.client.post(url, data).status_code == 302


@by(BY_API, Action.BATCH_CANCELLED)
def _(w: World) -> Iterator[None]:
    batch = w.batch()
    yield
    w.ask("POST", f"batches/{batch.id}/cancel")


@by(BY_ADMIN, Action.BATCH_CANCELLED)
def _(w: World) -> Iterator[None]:
    batch = w.batch()
    yield
    w.post("exports_batch_cancel", batch.id)


# Connections.
@by(BY_API, Action.CONNECTION_CREATED)
def _(w: World) -> Iterator[None]:
    w.erp.delete()
    yield
    body = {"connector_type": "DROPZONE_JSON_V1", "config": SFTP, "ack_deadline_seconds": 60}
    w.ask("POST", "erp-connections", body)


@by(BY_ADMIN, Action.CONNECTION_CREATED)
def _(w: World) -> Iterator[None]:
    w.erp.delete()
    yield
    w.post(
        "connectors_erpconnection_add",
        org=w.org.id,
        connector_type="DROPZONE_JSON_V1",
        active="on",
        ack_deadline="1:00:00",
        config_mode="sftp",
        config_host="sftp.example.com",
        config_port=22,
        config_username="u",
        config_password=CANARY,
        config_export_path="/exports",
    )


@by(BY_API, Action.CONNECTION_CONFIGURED)
def _(w: World) -> Iterator[None]:
    w.sftp()
    yield
    w.ask("PATCH", f"erp-connections/{w.erp.id}", {"config": {"password": f"new {CANARY}"}})


@by(BY_ADMIN, Action.CONNECTION_CONFIGURED)
def _(w: World) -> Iterator[None]:
    w.sftp()
    yield
    w.post(
        "connectors_erpconnection_change",
        w.erp.id,
        active="on",
        config_mode="sftp",
        config_host="sftp.example.com",
        config_username="u",
        config_password=f"new {CANARY}",
        config_export_path="/exports",
    )


@by(BY_API, Action.CONNECTION_CHANGED)
def _(w: World) -> Iterator[None]:
    yield
    w.ask("PATCH", f"erp-connections/{w.erp.id}", {"active": False, "ack_deadline_seconds": 60})


@by(BY_ADMIN, Action.CONNECTION_CHANGED)
def _(w: World) -> Iterator[None]:
    config = {f"config_{name}": value for name, value in w.dropzone.config.items()}
    config["config_atomic_write"] = "on"
    yield
    w.post(
        "connectors_erpconnection_change", w.erp.id, active="on", ack_deadline="1:00:00", **config
    )


@by(BY_ADMIN, Action.HOST_KEY_PINNED)
def _(w: World) -> Iterator[None]:
    w.sftp()
    ErpConnection.objects.update(host_key_seen=HOST_KEY)
    yield
    w.post("connectors_erpconnection_pin", w.erp.id, host_key=HOST_KEY)


@by(BY_API, Action.CONNECTION_TESTED)
def _(w: World) -> Iterator[None]:
    yield
    w.ask("POST", f"erp-connections/{w.erp.id}/test")


@by(BY_ADMIN, Action.CONNECTION_TESTED)
def _(w: World) -> Iterator[None]:
    yield
    w.post("connectors_erpconnection_test", w.erp.id)


@by(BY_API, Action.CONNECTION_PAUSED)
def _(w: World) -> Iterator[None]:
    yield
    w.ask("POST", f"erp-connections/{w.erp.id}/pause", {"reason": "stock-taking"})


@by(BY_ADMIN, Action.CONNECTION_PAUSED)
def _(w: World) -> Iterator[None]:
    yield
    w.post("connectors_erpconnection_pause", w.erp.id, reason="stock-taking")


@by(BY_API, Action.CONNECTION_RESUMED)
def _(w: World) -> Iterator[None]:
    health.pause(w.erp.id, reason="stock-taking", actor=w.ann)
    yield
    w.ask("POST", f"erp-connections/{w.erp.id}/resume")


@by(BY_ADMIN, Action.CONNECTION_RESUMED)
def _(w: World) -> Iterator[None]:
    health.pause(w.erp.id, reason="stock-taking", actor=w.ann)
    yield
    w.post("connectors_erpconnection_resume", w.erp.id)


@by(BY_ADMIN, Action.CONNECTION_REQUESTED)
def _(w: World) -> Iterator[None]:
    yield
    w.post("connectors_erpconnection_deliver", w.erp.id)


# Webhooks.
@by(BY_ADMIN, Action.WEBHOOK_CREATED)
def _(w: World) -> Iterator[None]:
    yield
    url = reverse("admin:notifications_webhook_add")
    data = {"org": w.org.pk, "url": WEBHOOK, "event_types": ["export.acked"], "active": "on"}
    assert "whsec_" in text(w.client.post(url, data))


@by(BY_ADMIN, Action.WEBHOOK_CHANGED)
def _(w: World) -> Iterator[None]:
    webhook = w.webhook()
    yield
    w.post("notifications_webhook_change", webhook.pk, url=WEBHOOK, event_types="export.sent")


@by(BY_ADMIN, Action.WEBHOOK_SECRET_REPLACED)
def _(w: World) -> Iterator[None]:
    webhook = w.webhook()
    yield
    url = reverse("admin:notifications_webhook_secret", args=[webhook.pk])
    assert "whsec_" in text(w.client.post(url))


# People and their tokens.
@by(BY_ADMIN, Action.LOGIN_SUCCEEDED)
def _(w: World) -> Iterator[None]:
    yield
    w.post("login", username="ann", password="secret", next="/admin/")


@by(BY_ADMIN, Action.LOGGED_OUT)
def _(w: World) -> Iterator[None]:
    yield
    assert w.client.post(reverse("admin:logout")).status_code == 200


@by(BY_ADMIN, Action.PASSWORD_CHANGED)
def _(w: World) -> Iterator[None]:
    ben = a_user(w.org, "ben")
    new = f"new {CANARY}"
    yield
    w.post(
        "auth_user_password_change", ben.id, usable_password="true", password1=new, password2=new
    )


@by(BY_ADMIN, Action.TOKEN_CREATED)
def _(w: World) -> Iterator[None]:
    yield
    url = reverse("admin:accounts_apitoken_add")
    data = {
        "user": w.ann.pk,
        "org": w.org.pk,
        "name": "shop",
        "expires_at_0": "2999-01-01",
        "expires_at_1": "00:00:00",
    }
    assert "oft_" in text(w.client.post(url, data))


@by(BY_ADMIN, Action.TOKEN_REVOKED)
def _(w: World) -> Iterator[None]:
    token = ApiToken.objects.get()
    yield
    w.post(
        "accounts_apitoken_changelist", action="revoke", confirmed="yes", _selected_action=token.pk
    )


def user_form(w: World, **changes: Any) -> dict[str, Any]:
    return {
        "username": "ben",
        "is_active": "on",
        "date_joined_0": "2026-01-01",
        "date_joined_1": "00:00:00",
        "memberships-TOTAL_FORMS": 1,
        "memberships-INITIAL_FORMS": 0,
        "memberships-0-org": w.org.pk,
        **changes,
    }


@by(BY_ADMIN, Action.USER_CREATED)
def _(w: World) -> Iterator[None]:
    new = f"new {CANARY}"
    yield
    passwords = {"usable_password": "true", "password1": new, "password2": new}
    w.post("accounts_user_add", **user_form(w, **passwords))


@by(BY_ADMIN, Action.USER_CHANGED)
def _(w: World) -> Iterator[None]:
    ben = User.objects.create(username="ben")
    group = Group.objects.get(name="Operator")
    yield
    w.post("accounts_user_change", ben.pk, **user_form(w, is_superuser="on", groups=group.pk))


@by(BY_ADMIN, Action.GROUP_CREATED)
def _(w: World) -> Iterator[None]:
    yield
    w.post("auth_group_add", name="Clerks")


@by(BY_ADMIN, Action.GROUP_CHANGED)
def _(w: World) -> Iterator[None]:
    group = Group.objects.get(name="Viewer")
    permission = Group.objects.get(name="Operator").permissions.get(codename="settle_erpexport")
    yield
    w.post("auth_group_change", group.pk, name="Viewer", permissions=permission.pk)


@by(BY_ADMIN, Action.GROUP_DELETED)
def _(w: World) -> Iterator[None]:
    group = Group.objects.get(name="Viewer")
    yield
    w.post("auth_group_delete", group.pk, post="yes")


@by(BY_ADMIN, Action.ORG_CREATED)
def _(w: World) -> Iterator[None]:
    yield
    w.post("accounts_org_add", name="Umbrella", slug="umbrella")


@by(BY_ADMIN, Action.ORG_CHANGED)
def _(w: World) -> Iterator[None]:
    yield
    w.post("accounts_org_change", w.org.pk, name="Acme & Sons", slug="acme")


def done(deed: Deed, world: World) -> list[AuditEntry]:
    """The entries that a deed leaves, without those of what it needs."""
    steps = deed(world)
    next(steps)
    first = last_id()
    assert next(steps, None) is None
    return entries_since(first)


DEEDS = [
    pytest.param(door, action, id=f"{action} by {name}")
    for name, door in (("API", BY_API), ("admin", BY_ADMIN))
    for action in door
]


@pytest.mark.parametrize(("door", "action"), DEEDS)
def test_a_deed_is_recorded_once(world: World, door: dict[Action, Deed], action: Action) -> None:
    (entry,) = done(door[action], world)
    assert entry.action == action
    assert (entry.actor, entry.actor_name) == (world.ann, "ann@acme.example")
    assert (entry.address, entry.request_id) == (ADDRESS, REQUEST_ID)
    about = entry.object_type.partition(".")[2]
    belongs_to_no_org = about in ("user", "group") or action == Action.ORG_CREATED
    assert belongs_to_no_org or entry.org == world.org
    assert entry.object_id and entry.object_label


def test_every_action_can_be_done() -> None:
    # These are tested where they belong.
    others = {Action.LOGIN_FAILED, Action.SECRET_REENCRYPTED, Action.DATABASE_CLAIMED}
    assert BY_ADMIN.keys() | others == set(Action)


@pytest.mark.parametrize(("door", "action"), DEEDS)
def test_no_secret_is_recorded(world: World, door: dict[Action, Deed], action: Action) -> None:
    done(door[action], world)
    stored = json.dumps(list(AuditEntry.objects.values()), default=str)
    assert CANARY not in stored
    assert "whsec_" not in stored
    assert not re.search(r"oft_\w{5}", stored), "no more of a token than its prefix"
    assert all(u.password not in stored for u in User.objects.exclude(password=""))


def changes(entry: AuditEntry) -> tuple[dict[str, Any], dict[str, Any]]:
    return entry.before, entry.after


def test_before_and_after_say_what_was_changed(world: World) -> None:
    (entry,) = done(BY_API[Action.CONNECTION_CONFIGURED], world)
    assert changes(entry) == ({"password": "••••••••"}, {"password": "••••••••"})
    (entry,) = done(BY_ADMIN[Action.HOST_KEY_PINNED], world)
    assert changes(entry) == ({}, {"host_keys": [HOST_KEY]})
    (entry,) = done(BY_API[Action.CONNECTION_CHANGED], world)
    assert entry.before == {"active": True, "ack_deadline": None}
    assert entry.after == {"active": False, "ack_deadline": "P0DT00H01M00S"}
    (entry,) = done(BY_ADMIN[Action.USER_CHANGED], world)
    assert entry.before == {"is_superuser": False, "groups": [], "orgs": []}
    assert entry.after == {"is_superuser": True, "groups": ["Operator"], "orgs": ["acme"]}
    (entry,) = done(BY_ADMIN[Action.ORG_CHANGED], world)
    assert changes(entry) == ({"name": "Acme"}, {"name": "Acme & Sons"})
    (entry,) = done(BY_ADMIN[Action.CONNECTION_PAUSED], world)
    assert entry.after == {"reason": "stock-taking"}


def test_a_withdrawn_approval_says_whose_it_was(world: World) -> None:
    order = world.approved()
    ben = a_user(world.org, "ben")
    with workflow.editing(order.id, actor=ben):
        order.lines.update(qty=3)
    entry = latest()
    assert (entry.action, entry.actor) == (Action.APPROVAL_WITHDRAWN, ben)
    assert entry.before["approved_by"] == "ann@acme.example"
    # There is no approval left to take back.
    first = last_id()
    with workflow.editing(order.id, actor=ben):
        order.lines.update(qty=4)
    assert not entries_since(first)


def test_a_form_that_changes_nothing_is_not_recorded(world: World) -> None:
    first = last_id()
    world.post("accounts_org_change", world.org.pk, name="Acme", slug="acme")
    world.ask("PATCH", f"erp-connections/{world.erp.id}", {"active": True, "config": {}})
    assert not entries_since(first)


# Logins.
@pytest.mark.parametrize(
    ("name", "password", "object_label"),
    [("ann", CANARY, "ann"), (CANARY, "secret", ""), ("clerk", "secret", "clerk")],
)
def test_a_failed_login_names_only_a_known_user(
    world: World, name: str, password: str, object_label: str
) -> None:
    a_user(world.org, "clerk")
    first = last_id()
    data = {"username": name, "password": password}
    assert world.client.post(reverse("admin:login"), data).status_code == 200
    (entry,) = entries_since(first)
    assert entry.action == Action.LOGIN_FAILED
    assert (entry.actor, entry.actor_name, entry.object_label) == (None, "", object_label)
    assert entry.address == ADDRESS
    assert CANARY not in json.dumps(list(AuditEntry.objects.values()), default=str)


def test_who_is_not_let_in_does_not_fill_the_log(world: World, settings: Any) -> None:
    settings.FAILED_LOGINS_PER_USER = 2
    first = last_id()
    data = {"username": "ann", "password": "wrong"}
    answers = [world.client.post(reverse("admin:login"), data).status_code for _ in range(5)]
    assert answers == [200, 200, 429, 429, 429]
    assert len(entries_since(first)) == 2


def test_changing_ones_own_password_is_recorded(world: World) -> None:
    first = last_id()
    data = {"old_password": "wrong", "new_password1": "n3w-Secret", "new_password2": "n3w-Secret"}
    url = reverse("admin:password_change")
    assert world.client.post(url, data).status_code == 200
    assert not entries_since(first)
    assert world.client.post(url, data | {"old_password": "secret"}).status_code == 302
    (entry,) = entries_since(first)
    assert (entry.action, entry.object_label) == (Action.PASSWORD_CHANGED, "ann")


@pytest.mark.parametrize(
    ("proxies", "forwarded", "address"),
    [
        (0, "198.51.100.7", ADDRESS),
        (1, "10.9.8.7, 198.51.100.7", "198.51.100.7"),
        (1, "2001:db8:1:2:3:4:5:6", "2001:db8:1:2:3:4:5:6"),
        (1, "::ffff:198.51.100.7", "198.51.100.7"),
        (1, "anything", ADDRESS),
    ],
)
def test_the_address_is_the_whole_one_by_the_word_of_the_proxies(
    settings: Any, proxies: int, forwarded: str, address: str
) -> None:
    settings.TRUSTED_PROXIES = proxies
    headers = {"X-Forwarded-For": forwarded}
    request = RequestFactory(headers=headers, REMOTE_ADDR=ADDRESS).get("/")
    assert origin.address_of(request) == address


# Many orders.
def test_a_batch_is_done_in_the_name_of_who_asked_for_it(world: World) -> None:
    orders = [world.approved(f"PO-{number}") for number in range(3)]
    world.ask("POST", "batches", {"action": "push", "orders": [str(o.id) for o in orders]})
    first = last_id()
    batches.run(Batch.objects.get().id)
    entries = entries_since(first)
    assert [entry.action for entry in entries] == [Action.ORDER_PUSHED] * 3
    assert {entry.object_label for entry in entries} == {"PO-0", "PO-1", "PO-2"}
    assert {(e.actor, e.address, e.request_id) for e in entries} == {
        (world.ann, ADDRESS, REQUEST_ID)
    }
    assert origin.origin().request_id == "", "it ends with the batch"


def test_what_is_refused_is_not_recorded(world: World) -> None:
    approved, ready = world.approved("PO-1"), world.ready("PO-2")
    first = last_id()
    push_orders([approved.id, ready.id], actor=world.ann)
    with pytest.raises(Refused):
        retry_order(ready.id, actor=world.ann)
    (entry,) = entries_since(first)
    assert entry.object_label == "PO-1"
    assert entry.after["export"] == str(ErpExport.objects.get().id)


def test_settling_and_pushing_again_are_two_deeds(world: World) -> None:
    export = world.sent()
    (world.dropzone.exports / export.filename).unlink()
    first = last_id()
    settle(export.id, Outcome.GIVEN_UP, actor=world.ann, reason="Lost", push_again=True)
    settled, retried = entries_since(first)
    assert (settled.action, retried.action) == (Action.EXPORT_SETTLED, Action.ORDER_RETRIED)
    assert settled.after["outcome"] == "GIVEN_UP"


def test_an_export_that_was_delivered_after_all(world: World) -> None:
    export = world.export()
    ErpExport.objects.update(
        staged_path="/x.tmp", staged_at=export.created_at, destination={"folder": "/exports"}
    )
    first = last_id()
    settle(export.id, Outcome.DELIVERED, actor=world.ann, reason="The ERP has it")
    (entry,) = entries_since(first)
    assert (entry.before["status"], entry.after["status"]) == ("PENDING", "SENT")


# The command line has no user.
def test_a_token_of_the_command_line(world: World, capsys: Any) -> None:
    first = last_id()
    call_command("create_token", "ann", "--org", "acme", "--name", "shop")
    (entry,) = entries_since(first)
    assert (entry.action, entry.actor, entry.address) == (Action.TOKEN_CREATED, None, "")
    assert capsys.readouterr().out.strip() not in str(entry.after)


# What the database holds to.
@pytest.mark.ledger
def test_an_entry_goes_the_way_of_its_change(world: World) -> None:
    order = world.ready()
    first = last_id()
    with rehearsal():
        workflow.approve(order.id, actor=world.ann)
        assert entries_since(first)
    assert not entries_since(first)
    token = ApiToken.objects.get()
    with transaction.atomic():
        assert revoke_token(token, actor=world.ann)
        assert entries_since(first)
        transaction.set_rollback(True)
    assert not entries_since(first)


@pytest.mark.ledger
def test_the_database_refuses_to_change_the_past(world: World) -> None:
    entries = AuditEntry.objects.all()
    before = list(entries.values())
    assert before
    for change in (
        lambda: entries.update(actor_name="nobody"),
        lambda: entries.filter(id=before[0]["id"]).update(after={}),
        entries[0].save,
        lambda: entries.filter(id=before[0]["id"])._raw_delete("default"),
        entries.delete,
    ):
        with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
            change()
    assert list(entries.values()) == before


@pytest.mark.ledger
@pytest.mark.django_db(transaction=True)
def test_the_triggers_come_and_go_with_their_migration(world: World) -> None:
    try:
        call_command("migrate", "accounts", "0006", verbosity=0)
        assert AuditEntry.objects.all().delete()[0]
    finally:
        call_command("migrate", verbosity=0)
    health.pause(world.erp.id, reason="stock-taking", actor=world.ann)
    with pytest.raises(IntegrityError, match="append-only"):
        AuditEntry.objects.all().delete()


# Who may look, and at what.
LIST = "/admin/accounts/auditentry/"


@pytest.fixture
def auditor(world: World) -> Client:
    return logged_in(a_member(world.org, "aud", "Auditor"))


def test_an_auditor_sees_the_entries_of_the_own_org_and_changes_none(
    world: World, auditor: Client
) -> None:
    elsewhere = an_org("umbrella")
    ben = a_user(elsewhere, "ben")
    workflow.approve(an_order(elsewhere, "PO-ELSEWHERE").id, actor=ben)
    workflow.approve(world.ready("PO-HERE").id, actor=world.ann)
    page = text(auditor.get(LIST))
    assert "PO-HERE" in page
    for foreign in ("PO-ELSEWHERE", "ben@umbrella.example", Action.LOGIN_SUCCEEDED + "</td>"):
        assert foreign not in page
    everything = text(world.client.get(LIST))
    assert "PO-HERE" in everything and "PO-ELSEWHERE" in everything
    assert f"{Action.LOGIN_SUCCEEDED}</td>" in everything
    csv = b"".join(auditor.get(f"{LIST}csv/")).decode()  # type: ignore[arg-type]
    assert "PO-HERE" in csv and "PO-ELSEWHERE" not in csv
    for entry in AuditEntry.objects.all():
        url = f"{LIST}{entry.pk}/change/"
        assert auditor.get(url).status_code == (200 if entry.org == world.org else 302)
        assert auditor.post(url, {}).status_code == 403
        assert auditor.post(f"{LIST}{entry.pk}/delete/", {"post": "yes"}).status_code == 403
    assert auditor.get(f"{LIST}add/").status_code == 403


def test_others_do_not_see_the_log(world: World) -> None:
    order = world.approved()
    entry = latest()
    for group in ("Viewer", "Approver", "Operator", "Integration"):
        client = logged_in(a_member(world.org, group.lower(), group))
        for path in (LIST, f"{LIST}csv/", f"{LIST}{entry.pk}/change/"):
            assert client.get(path).status_code == 403
        page = text(client.get(reverse("admin:orders_draftorder_change", args=[order.pk])))
        assert LIST not in page


def test_an_auditor_only_looks(world: World, auditor: Client) -> None:
    order, export = world.ready("PO-2"), world.export()
    for name, pk in (
        ("orders_draftorder_change", order.pk),
        ("exports_erpexport_change", export.pk),
        ("connectors_erpconnection_change", world.erp.pk),
    ):
        assert auditor.get(reverse(f"admin:{name}", args=[pk])).status_code == 200
    for name, pk in (
        ("exports_erpexport_cancel", export.pk),
        ("connectors_erpconnection_pause", world.erp.pk),
    ):
        assert auditor.post(reverse(f"admin:{name}", args=[pk]), {}).status_code == 403
    url = reverse("admin:orders_draftorder_decide", args=["approve"])
    assert auditor.post(url, {"orders": str(order.pk)}).status_code == 403


def test_a_page_leads_to_the_log_of_its_object(world: World, auditor: Client) -> None:
    orders = [world.approved("PO-1"), world.approved("PO-2")]
    cancelled = push_order(orders[0].id, actor=world.ann)
    cancel_export(cancelled.id, actor=world.ann)
    for model, obj in (
        ("orders_draftorder", orders[0]),
        ("exports_erpexport", cancelled),
        ("connectors_erpconnection", world.erp),
    ):
        page = text(auditor.get(reverse(f"admin:{model}_change", args=[obj.pk])))
        assert f"{LIST}?object_type={obj._meta.label_lower}&amp;object_id={obj.pk}" in page
    query = {"object_type": "orders.draftorder", "object_id": str(orders[0].pk)}
    found = auditor.get(LIST, query).context["cl"].queryset
    assert [e.action for e in found] == [Action.ORDER_PUSHED, Action.ORDER_APPROVED]


def test_an_entry_shows_before_and_after_side_by_side(world: World, auditor: Client) -> None:
    world.ask("PATCH", f"erp-connections/{world.erp.id}", {"active": False})
    entry = latest()
    page = text(auditor.get(f"{LIST}{entry.pk}/change/"))
    assert '<th scope="row">active</th><td>true</td><td>false</td>' in page
    assert reverse("admin:connectors_erpconnection_change", args=[world.erp.pk]) in page
    assert ADDRESS in page and REQUEST_ID in page
    # An entry has no history of its own.
    assert reverse("admin:accounts_auditentry_history", args=[entry.pk]) not in page


def test_the_list_and_its_filter_name_kinds_of_objects_alike(world: World, auditor: Client) -> None:
    world.approved()
    assert '<span class="quiet">order</span>' in text(auditor.get(LIST, {"about": "order"}))
    assert '<span class="quiet">order</span>' not in text(auditor.get(LIST, {"about": "export"}))


def test_the_list_is_found_by_what_whom_and_when(world: World, auditor: Client) -> None:
    def found(**query: object) -> set[str]:
        return {e.action for e in auditor.get(LIST, query).context["cl"].queryset}

    ben = a_user(world.org, "ben")
    workflow.reject(world.ready("PO-7").id, actor=ben)
    world.ask("POST", f"erp-connections/{world.erp.id}/pause", {"reason": "stock-taking"})
    assert {Action.ORDER_REJECTED, Action.CONNECTION_PAUSED} < found()
    assert found(action="order.rejected") == {Action.ORDER_REJECTED}
    assert found(about="order") == {Action.ORDER_REJECTED}
    assert found(actor__id__exact=ben.pk) == {Action.ORDER_REJECTED}
    assert found(q="PO-7") == found(q="ben@") == {Action.ORDER_REJECTED}
    assert found(q=ADDRESS) == found(q=REQUEST_ID) == {Action.CONNECTION_PAUSED}
    at = latest().at
    today, tomorrow = f"{at:%Y-%m-%d}", f"{at + timedelta(days=1):%Y-%m-%d}"
    assert found(at__gte=today, at__lt=tomorrow) == found(at__gte=today, at__lt="") == found()
    assert found(at__gte=tomorrow, at__lt="") == found(at__gte="", at__lt=today) == set()
    page = text(auditor.get(LIST, {"at__gte": today, "at__lt": "", "about": "order"}))
    assert f'name="at__gte" value="{today}"' in page
    assert '<input type="hidden" name="about" value="order">' in page


# Its page.
def test_the_page_names_every_action() -> None:
    page = (Path(__file__).parent.parent / "docs" / "audit.md").read_text()
    rows = re.findall(r"^\| `([a-z_.]+)` \| (.+?) \|$", page, re.MULTILINE)
    assert rows == list(Action.choices)

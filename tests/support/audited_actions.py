"""Every action that the audit log records, done through each interface that offers it."""

import json
from collections.abc import Callable, Iterator
from typing import Any

from django.contrib.auth.models import Group
from django.test import Client
from django.urls import reverse
from rest_framework.test import APIClient

from accounts.audit import Action
from accounts.models import ApiToken, Org, User
from accounts.tokens import create_token
from connectors import circuit_breaker, configuring
from connectors.models import ErpConnection
from exports.acks.poller import poll
from exports.delivery.protocol import deliver
from exports.models import Batch, ErpAck, ErpExport
from exports.pushing import batches
from exports.pushing.push import cancel_export, push_order
from notifications.models import Webhook
from notifications.webhooks import create_webhook
from orders.models import DraftOrder
from tests.support import api as rest
from tests.support.admins import submitted, text
from tests.support.builders import a_connection, a_user, an_approved_order, an_order
from tests.support.dropzones import Dropzone

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
        """Let the ERP write an ack file and poll it; return the recorded ack."""
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
        """Submit a form of the admin and check that it redirects."""
        url = reverse(f"admin:{name}", args=args)
        response = self.client.post(url, {key: str(value) for key, value in data.items()})
        assert response.status_code == 302, text(response)

    def decide(self, name: str, *orders: DraftOrder) -> None:
        url = reverse("admin:orders_draftorder_decide", args=[name])
        page = self.client.get(url, {"order": [str(order.id) for order in orders]})
        assert page.status_code == 200
        assert self.client.post(url, submitted(page)).status_code == 302


# A generator: prepares what the action needs, yields, then does the action.
AuditedAction = Callable[[World], Iterator[None]]
BY_API: dict[Action, AuditedAction] = {}
BY_ADMIN: dict[Action, AuditedAction] = {}


def by(
    door: dict[Action, AuditedAction], action: Action
) -> Callable[[AuditedAction], AuditedAction]:
    def register(steps: AuditedAction) -> AuditedAction:
        door[action] = steps
        return steps

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


@by(BY_ADMIN, Action.EXPORT_RESOLVED)
def _(w: World) -> Iterator[None]:
    export = w.sent()
    (w.dropzone.exports / export.filename).unlink()
    yield
    w.post(
        "exports_erpexport_resolve",
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


@by(BY_ADMIN, Action.ACK_ACCEPTED)
def _(w: World) -> Iterator[None]:
    ack = w.conflict()
    yield
    w.post("exports_erpack_accept", ack.id, reason="Reprocessed")


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
    circuit_breaker.pause(w.erp.id, reason="stock-taking", actor=w.ann)
    yield
    w.ask("POST", f"erp-connections/{w.erp.id}/resume")


@by(BY_ADMIN, Action.CONNECTION_RESUMED)
def _(w: World) -> Iterator[None]:
    circuit_breaker.pause(w.erp.id, reason="stock-taking", actor=w.ann)
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
    permission = Group.objects.get(name="Operator").permissions.get(codename="resolve_erpexport")
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

"""Every page of the admin, found through its URLconf, for one object of each kind."""

import html
import re
from collections.abc import Iterable, Iterator
from datetime import timedelta
from html.parser import HTMLParser
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

from django.apps import apps
from django.contrib import admin
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import Group
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, resolve, reverse
from django.utils import timezone

from accounts.models import Org, User
from accounts.tokens import create_token
from connectors import circuit_breaker
from connectors.errors import ConnectorError
from connectors.models import ConnectionTest, ErpConnection
from exports.delivery.protocol import deliver
from exports.models import ErpAck, ErpExport
from exports.pushing import batch_runs, batches
from exports.pushing.actions import DECISIONS
from exports.pushing.push import cancel_export
from kernel.db import Now
from notifications.models import Webhook, WebhookAttempt
from notifications.webhooks import create_webhook, send_test
from orders import approval
from orders.models import DraftOrder, SourceDocument
from tests.support.builders import (
    a_connection,
    a_user,
    an_approved_order,
    an_order,
    an_org,
    some_exports,
)
from tests.support.servers.keys import new_key, public_line

# Routes that lead to no page.
NO_PAGES = {"logout", "jsi18n", "autocomplete", "view_on_site"}

_HREF = re.compile(r'href="([^"]*\?[^"]*)"')


class Tags(HTMLParser):
    """The kinds of tags of a page, by their classes, and what is inline there."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.classes: set[tuple[str, str]] = set()
        self.inline: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        self.classes |= {(tag, name) for name in (dict(attrs).get("class") or "").split()}
        if tag == "style" or any(name == "style" or name.startswith("on") for name in names):
            self.inline.append(f"{tag} {attrs}")

    def handle_data(self, data: str) -> None:
        if self.cdata_elem and data.strip():
            self.inline.append(data)


def a_full_house(folder: Path) -> User:
    """Objects of every kind in every state, in several orgs; return a superuser."""
    root = User.objects.create_superuser("root", email="root@acme.example", password="secret")
    for name in ("exports", "acks"):
        (folder / name).mkdir()
    acme = an_org("acme")
    ann = a_user(acme)
    ann.groups.add(Group.objects.get(name="Approver"))
    paths = {"export_path": f"{folder}/exports", "ack_path": f"{folder}/acks"}
    erp = a_connection(acme, {"mode": "filesystem", **paths})
    _answers(erp, _exports(acme, ann, erp), ann)
    orders = _orders(acme, ann)
    _batches(acme, ann)
    _connections(ann)
    _webhooks(acme, ann)
    create_token(ann, org=acme, name="Web shop", expires_at=timezone.now() + timedelta(days=9))
    for about in (orders[0], erp):
        LogEntry.objects.log_actions(
            user_id=ann.pk, queryset=[about], action_flag=CHANGE, change_message="Looked at it."
        )
    return root


def _orders(org: Org, actor: User) -> list[DraftOrder]:
    document = SourceDocument.objects.create(org=org, file_name="order.pdf", sha256="0" * 64)
    changed = an_approved_order(org, actor, "PO-changed")
    DraftOrder.objects.filter(id=changed.id).update(notes="Changed since.")
    approval.reject(an_order(org, "PO-rejected").id, actor=actor)
    order = an_order(org, "PO-full", source_document=document, notes="Call before delivery.")
    order.lines.update(description="Steel", customer_sku_raw="C-1", currency="EUR")
    return [
        order,
        an_order(org, "PO-empty", lines=0, customer=None),
        an_order(org, "PO-twin"),
        an_order(org, "PO-twin"),
        an_approved_order(org, actor, "PO-approved"),
        changed,
    ]


def _exports(org: Org, actor: User, erp: ErpConnection) -> list[ErpExport]:
    """Exports that were sent; others are in every other state."""
    sent = some_exports(org, actor, 8)
    assert deliver(erp.id).sent == len(sent)
    changes: list[dict[str, Any]] = [
        {},
        {"ack_due_at": timezone.now() + timedelta(days=1)},
        {"ack_due_at": timezone.now() - timedelta(days=1)},
        {"picked_up_at": Now()},
        {"status": "ACKED", "acked_at": Now(), "erp_order_id": "SO-1"},
        {
            "status": "FAILED",
            "error_json": {"code": "E17", "message": "No such item.", "owner": "order team"},
        },
    ]
    for export, change in zip(sent, changes, strict=False):
        ErpExport.objects.filter(id=export.id).update(**change)
    ErpConnection.objects.filter(id=erp.id).update(last_poll_at=Now())
    pending, unknown, retried, cancelled = some_exports(org, actor, 4, first=100)
    where = {"staged_at": Now(), "destination": {"mode": "filesystem", "folder": "/nowhere"}}
    error = ConnectorError("OUTCOME_UNKNOWN").as_json()
    ErpExport.objects.filter(id=unknown.id).update(
        attempts=1, next_attempt_at=None, staged_path="/nowhere/1.tmp", error_json=error, **where
    )
    ErpExport.objects.filter(id=retried.id).update(attempts=3, error_json=error)
    cancel_export(cancelled.id, actor=actor, reason="Ordered by mistake.")
    order = DraftOrder.objects.filter(id=sent[5].draft_order_id)
    order.update(status=DraftOrder.Status.ERROR)
    assert pending.status == "PENDING"
    return sent


def _answers(erp: ErpConnection, exports: list[ErpExport], actor: User) -> None:
    for classification, export in zip(ErpAck.Classification, exports, strict=True):
        is_unknown = classification == "UNMATCHED"
        ErpAck.objects.create(
            org=erp.org,
            erp_connection=erp,
            export=None if is_unknown else export,
            filename=f"ack_{export.filename}",
            sha256="0" * 64,
            raw='{"status": "FAILED"}',
            is_accepted=None if classification == "MALFORMED" else classification == "APPLIED",
            erp_order_id="SO-1",
            error_code="E17",
            message="No such item.",
            classification=classification,
            note="As it came.",
            decided_by=actor if classification == "DISMISSED" else None,
        )


def _batches(org: Org, actor: User) -> None:
    some = DraftOrder.objects.filter(external_order_number__in=["PO-approved", "PO-twin"])
    for end in (None, batch_runs.run, lambda key: batches.cancel(key, actor=actor)):
        batch = batches.create_batch(org, action="push", orders=some, actor=actor)
        if end:
            end(batch.id)


def _connections(actor: User) -> None:
    """One in each state, each in an org of its own."""
    seen = public_line(new_key())
    config = {
        "mode": "sftp",
        "host": "erp.example",
        "username": "orderflow",
        "password": "secret",
        "export_path": "/out",
        "ack_path": "/acks",
        "host_keys": [public_line(new_key())],
    }
    failure = ConnectorError("HOST_KEY_CHANGED").as_json()
    failed = [
        {
            "name": "connect",
            "outcome": "ok",
            "milliseconds": 12,
            "note": "127.0.0.1",
            "error": None,
        },
        {"name": "host key", "outcome": "failed", "milliseconds": 3, "note": "", "error": failure},
        {"name": "write", "outcome": "skipped", "milliseconds": 0, "note": "", "error": None},
    ]
    at = {"at": timezone.now().isoformat()}
    states: dict[str, dict[str, Any]] = {
        "untested": {"paused_at": Now(), "pause_code": "NEVER_TESTED"},
        "suspicious": {
            "paused_at": Now(),
            "pause_code": "HOST_KEY_CHANGED",
            "last_error": failure | at,
            "last_test_at": Now(),
            "last_test_success": False,
        },
        "failing": {
            "failures": 3,
            "retry_at": timezone.now() + timedelta(minutes=5),
            "last_error": ConnectorError("CONNECT_REFUSED").as_json() | at,
            "ack_error": ConnectorError("ACK_MOVE_FAILED").as_json() | at,
        },
        "inactive": {"active": False},
    }
    for slug, state in states.items():
        connection = a_connection(an_org(slug), config)
        ErpConnection.objects.filter(id=connection.id).update(host_key_seen=seen, **state)
        for steps, ended in ((failed, Now()), (failed[:1], None)):
            ConnectionTest.objects.create(
                connection=connection,
                requested_by=actor,
                started_at=Now(),
                steps=steps,
                finished_at=ended,
                success=False if ended else None,
            )
    paused = a_connection(an_org("paused"), config)
    circuit_breaker.pause(paused.id, reason="The ERP is being moved.", actor=actor)


def _webhooks(org: Org, actor: User) -> None:
    webhook, _ = create_webhook(
        org, url="https://shop.example/hook", event_types=["export.failed"], actor=actor
    )
    refused = send_test(webhook)
    WebhookAttempt.objects.create(
        notification=refused,
        at=Now(),
        url=webhook.url,
        status=500,
        milliseconds=12,
        error="The server answered with status 500.",
        response="Oh dear.",
    )
    Webhook.objects.filter(id=webhook.id).update(
        active=False, disabled_at=Now(), disabled_reason="It was gone.", last_error="It is gone."
    )


def routes() -> Iterator[tuple[str, tuple[str, ...], type[Any] | None]]:
    """The name, the parameters and the model of each route of the admin that has a name."""
    (resolver,) = [
        r
        for r in get_resolver().url_patterns
        if isinstance(r, URLResolver) and r.namespace == admin.site.name
    ]
    yield from _routes(resolver, None)


def _routes(
    resolver: URLResolver, model: type[Any] | None
) -> Iterator[tuple[str, tuple[str, ...], type[Any] | None]]:
    for entry in resolver.url_patterns:
        if isinstance(entry, URLResolver):
            label, name = str(entry.pattern).strip("/").split("/")
            yield from _routes(entry, apps.get_model(label, name))
        elif isinstance(entry, URLPattern) and entry.name and entry.name not in NO_PAGES:
            yield entry.name, tuple(entry.pattern.regex.groupindex), model


def addresses() -> Iterator[tuple[str, list[str]]]:
    """Return each route of the admin with its addresses for every existing object.

    A route with a parameter of a new name needs a line here that says what it stands for.
    """
    for route, parameters, model in routes():
        objects = model._base_manager.values_list("pk", flat=True) if model else []
        values: dict[str, Any] = {
            "pk": objects,
            "object_id": objects,
            "id": objects,
            "app_label": {model._meta.app_label for model in admin.site._registry},
            "name": DECISIONS,
            "test": ConnectionTest.objects.values_list("pk", flat=True),
        }
        yield (
            route,
            [
                reverse(f"admin:{route}", kwargs=dict(zip(parameters, chosen, strict=True)))
                for chosen in product(*(values[name] for name in parameters))
            ],
        )


def every_page(client: Client, *, searched: str = "P") -> dict[str, str]:
    """The HTML of every page that this client sees, by its address.

    Those of the URLconf, those that are searched, and what they link to with a query: filters,
    orders of a list, decisions. Files to download are fetched, too.
    """
    pages: dict[str, str] = {}
    links: set[str] = set()
    for route, urls in addresses():
        found = {url: text for url in urls if (text := _page(client, url)) is not None}
        is_refused = route.endswith(("_add", "_delete")) or route in _NEVER_SHOWN
        assert found or is_refused, f"no address of {route} leads to a page: {urls}"
        pages |= {url: text for url, text in found.items() if text}
        if route == "search" or route.endswith("_changelist"):
            links |= {f"{url}?{urlencode({'q': searched})}" for url in urls}
    for url, text in pages.items():
        links |= {urljoin(url, html.unescape(href)) for href in _HREF.findall(text)}
    for link in _telling(links):
        if linked := _page(client, link):
            pages[link] = linked
    return pages


def _telling(links: Iterable[str]) -> Iterator[str]:
    """Those to the admin; of a list, each way to sort it, but of each filter only one value."""
    seen = set()
    for link in sorted(links):
        parts = urlsplit(link)
        if not parts.path.startswith(reverse("admin:index")):
            continue
        names = sorted(parse_qs(parts.query))
        is_filtered = str(resolve(parts.path).url_name).endswith("_changelist") and "o" not in names
        kind = (parts.path, *names) if is_filtered else (link,)
        if kind not in seen:
            seen.add(kind)
            yield link


# For those who have logged in there is no login; the orders of a decision come with the query.
_NEVER_SHOWN = {"login", "orders_draftorder_decide"}


def _page(client: Client, url: str) -> str | None:
    """Return None if there is no such page, an empty text if it is not HTML."""
    response = client.get(url)
    assert response.status_code < 500, url
    if response.status_code != 200:
        return None
    # A file that is streamed is made only while it is read.
    text = response.getvalue().decode()
    return text if "text/html" in response["Content-Type"] else ""

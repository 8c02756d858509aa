"""The audit log: each action once, with its change, from everywhere, without secrets, for good."""

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import IntegrityError, transaction
from django.test import Client, RequestFactory
from django.urls import reverse

from accounts import audit
from accounts.audit import Action
from accounts.models import ApiToken, AuditEntry, User
from accounts.tokens import revoke_token
from connectors import circuit_breaker
from exports.models import Batch, ErpExport
from exports.pushing import batch_runs
from exports.pushing.push import cancel_export, push_order, push_orders, retry_order
from exports.resolution.manual import Resolution, resolve
from kernel import request_context
from kernel.dry_run import dry_run
from kernel.errors import RuleViolation
from orders import approval
from tests.support.admins import a_member, logged_in, text
from tests.support.audited_actions import (
    ADDRESS,
    BY_ADMIN,
    BY_API,
    CANARY,
    HOST_KEY,
    REQUEST_ID,
    AuditedAction,
    World,
)
from tests.support.builders import a_user, an_order, an_org
from tests.support.dropzones import Dropzone

pytestmark = pytest.mark.django_db


@pytest.fixture
def office(dropzone: Dropzone) -> World:
    return World(an_org(), dropzone)


def entries_since(first: int) -> list[AuditEntry]:
    return list(AuditEntry.objects.filter(id__gt=first).order_by("id"))


def latest() -> AuditEntry:
    return AuditEntry.objects.latest("id")


def last_id() -> int:
    return latest().id


def done(action: AuditedAction, office: World) -> list[AuditEntry]:
    """The entries that an action leaves, without those of what it needs."""
    steps = action(office)
    next(steps)
    first = last_id()
    assert next(steps, None) is None
    return entries_since(first)


# What the service itself records about an order, beside what a person did.
CONSEQUENCES = {Action.ORDER_ACCEPTED_LATE}

ACTIONS = [
    pytest.param(door, action, id=f"{action} by {name}")
    for name, door in (("API", BY_API), ("admin", BY_ADMIN))
    for action in door
]


@pytest.mark.parametrize(("door", "action"), ACTIONS)
def test_an_action_is_recorded_once(
    office: World, door: dict[Action, AuditedAction], action: Action
) -> None:
    (entry,) = [e for e in done(door[action], office) if e.action not in CONSEQUENCES]
    assert entry.action == action
    assert (entry.actor, entry.actor_name) == (office.ann, "ann@acme.example")
    assert (entry.address, entry.request_id) == (ADDRESS, REQUEST_ID)
    about = entry.object_type.partition(".")[2]
    belongs_to_no_org = about in ("user", "group") or action == Action.ORG_CREATED
    assert belongs_to_no_org or entry.org == office.org
    assert entry.object_id and entry.object_label


def test_every_action_can_be_done() -> None:
    # These are tested where they belong.
    others = {Action.LOGIN_FAILED, Action.SECRET_REENCRYPTED, Action.DATABASE_CLAIMED}
    assert BY_ADMIN.keys() | others | CONSEQUENCES == set(Action)


@pytest.mark.parametrize(("door", "action"), ACTIONS)
def test_no_secret_is_recorded(
    office: World, door: dict[Action, AuditedAction], action: Action
) -> None:
    done(door[action], office)
    stored = json.dumps(list(AuditEntry.objects.values()), default=str)
    assert CANARY not in stored
    assert "whsec_" not in stored
    assert not re.search(r"oft_\w{5}", stored), "no more of a token than its prefix"
    assert all(u.password not in stored for u in User.objects.exclude(password=""))


def changes(entry: AuditEntry) -> tuple[dict[str, Any], dict[str, Any]]:
    return entry.before, entry.after


def test_before_and_after_say_what_was_changed(office: World) -> None:
    (entry,) = done(BY_API[Action.CONNECTION_CONFIGURED], office)
    assert changes(entry) == ({"password": "••••••••"}, {"password": "••••••••"})
    (entry,) = done(BY_ADMIN[Action.HOST_KEY_PINNED], office)
    assert changes(entry) == ({}, {"host_keys": [HOST_KEY]})
    (entry,) = done(BY_API[Action.CONNECTION_CHANGED], office)
    assert entry.before == {"active": True, "ack_deadline": None}
    assert entry.after == {"active": False, "ack_deadline": "P0DT00H01M00S"}
    (entry,) = done(BY_ADMIN[Action.USER_CHANGED], office)
    assert entry.before == {"is_superuser": False, "groups": [], "orgs": []}
    assert entry.after == {"is_superuser": True, "groups": ["Operator"], "orgs": ["acme"]}
    (entry,) = done(BY_ADMIN[Action.ORG_CHANGED], office)
    assert changes(entry) == ({"name": "Acme"}, {"name": "Acme & Sons"})
    (entry,) = done(BY_ADMIN[Action.CONNECTION_PAUSED], office)
    assert entry.after == {"reason": "stock-taking"}


def test_a_withdrawn_approval_says_whose_it_was(office: World) -> None:
    order = office.approved()
    ben = a_user(office.org, "ben")
    with approval.editing(order.id, actor=ben):
        order.lines.update(qty=3)
    entry = latest()
    assert (entry.action, entry.actor) == (Action.APPROVAL_WITHDRAWN, ben)
    assert entry.before["approved_by"] == "ann@acme.example"
    # There is no approval left to take back.
    first = last_id()
    with approval.editing(order.id, actor=ben):
        order.lines.update(qty=4)
    assert not entries_since(first)


def test_a_form_that_changes_nothing_is_not_recorded(office: World) -> None:
    first = last_id()
    office.post("accounts_org_change", office.org.pk, name="Acme", slug="acme")
    office.ask("PATCH", f"erp-connections/{office.erp.id}", {"active": True, "config": {}})
    assert not entries_since(first)


# Logins.
@pytest.mark.parametrize(
    ("name", "password", "object_label"),
    [("ann", CANARY, "ann"), (CANARY, "secret", ""), ("clerk", "secret", "clerk")],
)
def test_a_failed_login_names_only_a_known_user(
    office: World, name: str, password: str, object_label: str
) -> None:
    a_user(office.org, "clerk")
    first = last_id()
    data = {"username": name, "password": password}
    assert office.client.post(reverse("admin:login"), data).status_code == 200
    (entry,) = entries_since(first)
    assert entry.action == Action.LOGIN_FAILED
    assert (entry.actor, entry.actor_name, entry.object_label) == (None, "", object_label)
    assert entry.address == ADDRESS
    assert CANARY not in json.dumps(list(AuditEntry.objects.values()), default=str)


def test_who_is_not_let_in_does_not_fill_the_log(office: World, settings: Any) -> None:
    settings.FAILED_LOGINS_PER_USER = 2
    first = last_id()
    data = {"username": "ann", "password": "wrong"}
    answers = [office.client.post(reverse("admin:login"), data).status_code for _ in range(5)]
    assert answers == [200, 200, 429, 429, 429]
    assert len(entries_since(first)) == 2


def test_changing_ones_own_password_is_recorded(office: World) -> None:
    first = last_id()
    data = {"old_password": "wrong", "new_password1": "n3w-Secret", "new_password2": "n3w-Secret"}
    url = reverse("admin:password_change")
    assert office.client.post(url, data).status_code == 200
    assert not entries_since(first)
    assert office.client.post(url, data | {"old_password": "secret"}).status_code == 302
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
    assert request_context.address_of(request) == address


# Many orders.
def test_a_batch_is_done_in_the_name_of_who_asked_for_it(office: World) -> None:
    orders = [office.approved(f"PO-{number}") for number in range(3)]
    office.ask("POST", "batches", {"action": "push", "orders": [str(o.id) for o in orders]})
    first = last_id()
    batch_runs.run(Batch.objects.get().id)
    entries = entries_since(first)
    assert [entry.action for entry in entries] == [Action.ORDER_PUSHED] * 3
    assert {entry.object_label for entry in entries} == {"PO-0", "PO-1", "PO-2"}
    assert {(e.actor, e.address, e.request_id) for e in entries} == {
        (office.ann, ADDRESS, REQUEST_ID)
    }
    assert request_context.origin().request_id == "", "it ends with the batch"


def test_what_is_refused_is_not_recorded(office: World) -> None:
    approved, ready = office.approved("PO-1"), office.ready("PO-2")
    first = last_id()
    push_orders([approved.id, ready.id], actor=office.ann)
    with pytest.raises(RuleViolation):
        retry_order(ready.id, actor=office.ann)
    (entry,) = entries_since(first)
    assert entry.object_label == "PO-1"
    assert entry.after["export"] == str(ErpExport.objects.get().id)


def test_resolving_and_pushing_again_are_two_actions(office: World) -> None:
    export = office.sent()
    (office.dropzone.exports / export.filename).unlink()
    first = last_id()
    resolve(export.id, Resolution.GIVEN_UP, actor=office.ann, reason="Lost", push_again=True)
    settled, retried = entries_since(first)
    assert (settled.action, retried.action) == (Action.EXPORT_RESOLVED, Action.ORDER_RETRIED)
    assert settled.after["outcome"] == "GIVEN_UP"


def test_an_export_that_was_delivered_after_all(office: World) -> None:
    export = office.export()
    ErpExport.objects.update(
        staged_path="/x.tmp", staged_at=export.created_at, destination={"folder": "/exports"}
    )
    first = last_id()
    resolve(export.id, Resolution.DELIVERED, actor=office.ann, reason="The ERP has it")
    (entry,) = entries_since(first)
    assert (entry.before["status"], entry.after["status"]) == ("PENDING", "SENT")


# The command line has no user.
def test_a_token_of_the_command_line(office: World, capsys: Any) -> None:
    first = last_id()
    call_command("create_token", "ann", "--org", "acme", "--name", "shop")
    (entry,) = entries_since(first)
    assert (entry.action, entry.actor, entry.address) == (Action.TOKEN_CREATED, None, "")
    assert capsys.readouterr().out.strip() not in str(entry.after)


# What the database holds to.
@pytest.mark.ledger
def test_an_entry_goes_the_way_of_its_change(office: World) -> None:
    order = office.ready()
    first = last_id()
    with dry_run():
        approval.approve(order.id, actor=office.ann)
        assert entries_since(first)
    assert not entries_since(first)
    token = ApiToken.objects.get()
    with transaction.atomic():
        assert revoke_token(token, actor=office.ann)
        assert entries_since(first)
        transaction.set_rollback(True)
    assert not entries_since(first)


@pytest.mark.ledger
def test_the_database_refuses_to_change_the_past(office: World) -> None:
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
def test_the_triggers_come_and_go_with_their_migration(office: World) -> None:
    try:
        call_command("migrate", "accounts", "0006", verbosity=0)
        assert AuditEntry.objects.all().delete()[0]
    finally:
        call_command("migrate", verbosity=0)
    circuit_breaker.pause(office.erp.id, reason="stock-taking", actor=office.ann)
    with pytest.raises(IntegrityError, match="append-only"):
        AuditEntry.objects.all().delete()


# Who may look, and at what.
LIST = "/admin/accounts/auditentry/"


@pytest.fixture
def auditor(office: World) -> Client:
    return logged_in(a_member(office.org, "aud", "Auditor"))


def listed(client: Client) -> str:
    """The page of the list, without the places where narrow columns may break."""
    return text(client.get(LIST)).replace("<wbr>", "")


def test_an_auditor_sees_the_entries_of_the_own_org_and_changes_none(
    office: World, auditor: Client
) -> None:
    elsewhere = an_org("umbrella")
    ben = a_user(elsewhere, "ben")
    approval.approve(an_order(elsewhere, "PO-ELSEWHERE").id, actor=ben)
    approval.approve(office.ready("PO-HERE").id, actor=office.ann)
    page = listed(auditor)
    assert "PO-HERE" in page
    for foreign in ("PO-ELSEWHERE", "ben@umbrella.example", Action.LOGIN_SUCCEEDED + "</td>"):
        assert foreign not in page
    everything = listed(office.client)
    assert "PO-HERE" in everything and "PO-ELSEWHERE" in everything
    assert f"{Action.LOGIN_SUCCEEDED}</td>" in everything
    csv = b"".join(auditor.get(f"{LIST}csv/")).decode()  # type: ignore[arg-type]
    assert "PO-HERE" in csv and "PO-ELSEWHERE" not in csv
    for entry in AuditEntry.objects.all():
        url = f"{LIST}{entry.pk}/change/"
        assert auditor.get(url).status_code == (200 if entry.org == office.org else 302)
        assert auditor.post(url, {}).status_code == 403
        assert auditor.post(f"{LIST}{entry.pk}/delete/", {"post": "yes"}).status_code == 403
    assert auditor.get(f"{LIST}add/").status_code == 403


def test_others_do_not_see_the_log(office: World) -> None:
    order = office.approved()
    entry = latest()
    for group in ("Viewer", "Approver", "Operator", "Integration"):
        client = logged_in(a_member(office.org, group.lower(), group))
        for path in (LIST, f"{LIST}csv/", f"{LIST}{entry.pk}/change/"):
            assert client.get(path).status_code == 403
        page = text(client.get(reverse("admin:orders_draftorder_change", args=[order.pk])))
        assert LIST not in page


def test_an_auditor_only_looks(office: World, auditor: Client) -> None:
    order, export = office.ready("PO-2"), office.export()
    for name, pk in (
        ("orders_draftorder_change", order.pk),
        ("exports_erpexport_change", export.pk),
        ("connectors_erpconnection_change", office.erp.pk),
    ):
        assert auditor.get(reverse(f"admin:{name}", args=[pk])).status_code == 200
    for name, pk in (
        ("exports_erpexport_cancel", export.pk),
        ("connectors_erpconnection_pause", office.erp.pk),
    ):
        assert auditor.post(reverse(f"admin:{name}", args=[pk]), {}).status_code == 403
    url = reverse("admin:orders_draftorder_decide", args=["approve"])
    assert auditor.post(url, {"orders": str(order.pk)}).status_code == 403


def test_a_page_leads_to_the_log_of_its_object(office: World, auditor: Client) -> None:
    orders = [office.approved("PO-1"), office.approved("PO-2")]
    cancelled = push_order(orders[0].id, actor=office.ann)
    cancel_export(cancelled.id, actor=office.ann)
    for model, obj in (
        ("orders_draftorder", orders[0]),
        ("exports_erpexport", cancelled),
        ("connectors_erpconnection", office.erp),
    ):
        page = text(auditor.get(reverse(f"admin:{model}_change", args=[obj.pk])))
        assert f"{LIST}?object_type={obj._meta.label_lower}&amp;object_id={obj.pk}" in page
    query = {"object_type": "orders.draftorder", "object_id": str(orders[0].pk)}
    found = auditor.get(LIST, query).context["cl"].queryset
    assert [e.action for e in found] == [Action.ORDER_PUSHED, Action.ORDER_APPROVED]


def test_an_entry_shows_before_and_after_side_by_side(office: World, auditor: Client) -> None:
    office.ask("PATCH", f"erp-connections/{office.erp.id}", {"active": False})
    entry = latest()
    page = text(auditor.get(f"{LIST}{entry.pk}/change/"))
    assert '<th scope="row">active</th><td>true</td><td>false</td>' in page
    assert reverse("admin:connectors_erpconnection_change", args=[office.erp.pk]) in page
    assert ADDRESS in page and REQUEST_ID in page
    # An entry has no history of its own.
    assert reverse("admin:accounts_auditentry_history", args=[entry.pk]) not in page


def test_the_list_and_its_filter_name_kinds_of_objects_alike(
    office: World, auditor: Client
) -> None:
    office.approved()
    assert '<span class="quiet">order</span>' in text(auditor.get(LIST, {"about": "order"}))
    assert '<span class="quiet">order</span>' not in text(auditor.get(LIST, {"about": "export"}))


def test_the_list_is_found_by_what_whom_and_when(office: World, auditor: Client) -> None:
    def found(**query: object) -> set[str]:
        return {e.action for e in auditor.get(LIST, query).context["cl"].queryset}

    ben = a_user(office.org, "ben")
    approval.reject(office.ready("PO-7").id, actor=ben)
    office.ask("POST", f"erp-connections/{office.erp.id}/pause", {"reason": "stock-taking"})
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
def test_an_entry_of_a_former_release_is_found_under_its_present_action(
    office: World, auditor: Client
) -> None:
    entry = AuditEntry.objects.create(
        org=office.org,
        action="export.settled",
        object_type="exports.erpexport",
        object_id="1",
        object_label="PO-1",
    )
    audit.record(Action.EXPORT_RESOLVED, None, actor=office.ann)
    found = text(auditor.get(LIST, {"action": "export.resolved"}))
    assert "PO-1" in found
    assert "settled" not in found
    page = text(auditor.get(f"{LIST}{entry.pk}/change/"))
    assert "export.resolved PO-1" in page
    assert "settled" not in page
    entry.refresh_from_db()
    assert entry.action == "export.settled"


def test_the_page_names_every_action() -> None:
    page = (Path(__file__).parents[2] / "docs" / "security.md").read_text()
    rows = re.findall(r"^\| `([a-z_.]+)` \| (.+?) \|$", page, re.MULTILINE)
    assert rows == list(Action.choices)

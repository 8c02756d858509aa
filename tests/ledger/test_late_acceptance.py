"""Late acceptances: the order becomes PUSHED from any status, and the ERP gets it once."""

import csv
import html
import json
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import Model
from django.test import Client
from django.urls import reverse

from accounts.models import AuditEntry, Org, User
from connectors.models import ErpConnection
from exports.acks import review
from exports.acks.poller import poll
from exports.delivery.protocol import deliver
from exports.models import ErpAck, ErpExport
from exports.pushing.push import cancel_export, push_order, retry_order
from exports.resolution.manual import Resolution, resolve
from kernel.db import db_now
from kernel.errors import RuleViolation
from orders import approval
from orders.models import DraftOrder
from tests.support.admins import messages, page_url
from tests.support.api import ORDERS, client, person
from tests.support.builders import an_approved_order
from tests.support.dropzones import Dropzone
from tests.support.invariants import assert_order_fits

pytestmark = [pytest.mark.django_db, pytest.mark.ledger]

Status = DraftOrder.Status
# What a person does with an order whose export the ERP has refused.
EDITED = (Status.NEEDS_REVIEW, Status.READY, Status.APPROVED, Status.REJECTED)
STALE = (Status.ERROR, *EDITED)


@pytest.fixture
def answer(dropzone: Dropzone, erp: ErpConnection) -> Callable[..., ErpAck]:
    """Let the ERP write an ack, `ack` or `error`, and a poll read it."""

    def write(kind: str, export: ErpExport, *, name: str = "", number: str = "SO-1") -> ErpAck:
        content = {
            "ack": {"status": "ACKED", "erp_order_id": number},
            "error": {"status": "FAILED", "error_code": number, "message": "No such customer"},
        }[kind]
        path = dropzone.acks / f"{kind}_{name or export.filename}"
        path.write_text(json.dumps(content))
        assert not poll(erp.id).errors
        return ErpAck.objects.filter(filename=path.name).latest("seen_at")

    return write


Answer = Callable[..., ErpAck]


def edit(order_id: Any, actor: User, **lines: Any) -> None:
    with approval.editing(order_id, actor=actor) as order:
        order.notes = "edited"
        order.save(update_fields=["notes"])
        order.lines.update(**lines or {"qty": 3})


def bring(status: str, export: ErpExport, answer: Answer, actor: User) -> None:
    """Bring the order of a sent export to a status, as people do it."""
    order_id = export.draft_order_id
    if status == Status.PUSHED:
        return
    answer("error", export, number="E1")
    if status in EDITED:
        edit(order_id, actor, **({"qty": 0} if status == Status.NEEDS_REVIEW else {}))
    if status == Status.APPROVED:
        approval.approve(order_id, actor=actor)
    if status == Status.REJECTED:
        approval.reject(order_id, actor=actor)
    if status == Status.PUSHING:
        retry_order(order_id, actor=actor)
    assert state(export)[1] == status


def state(export: ErpExport) -> tuple[str, str]:
    """The export's and its order's status, which fit each other."""
    row = ErpExport.objects.select_related("draft_order").get(id=export.id)
    assert_order_fits(row.draft_order)
    return row.status, row.draft_order.status


def page(client: Client, name: str, about: Model) -> str:
    response = client.get(page_url(name, about.pk))
    assert response.status_code == 200
    return html.unescape(str(response.content.decode()))


def look_around(client: Client, export: ErpExport, ack: ErpAck) -> None:
    """Open each page that says what became of them."""
    page(client, "exports_erpexport_change", export)
    page(client, "exports_erpack_change", ack)
    page(client, "orders_draftorder_change", export.draft_order)


def take(client: Client, ack: ErpAck) -> list[str]:
    """Accept an ack on its page, after a look at what that does; return the messages."""
    there = page_url("exports_erpack_accept", ack.id)
    shown = client.get(there, follow=True)
    done = client.post(there, {"reason": "Asked the ERP team"}, follow=True)
    assert (shown.status_code, done.status_code) == (200, 200)
    return messages(done)


def assign(client: Client, ack: ErpAck, export: ErpExport) -> None:
    there = page_url("exports_erpack_assign", ack.id)
    assert client.get(there).status_code == 200
    entered = {"filename": export.filename, "reason": "Typo"}
    if "export" not in str(client.get(there).content):
        entered = {"export": str(export.id), "reason": "Typo"}
    shown = client.post(there, entered)
    hidden = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', shown.content.decode()))
    assert hidden.pop("csrfmiddlewaretoken") and hidden["confirmed"]
    assert messages(client.post(there, hidden, follow=True)) == ["The decision was recorded."]


def assert_not_pushed_again(export: ErpExport, actor: User) -> None:
    """The ERP has the order: no second file of it can be made."""
    for again in (push_order, retry_order):
        with pytest.raises(RuleViolation):
            again(export.draft_order_id, actor=actor)


# Every status of an order, each kind of ack, through each door.
@pytest.mark.parametrize("kind", ["ack", "error"])
@pytest.mark.parametrize("status", Status.values)
def test_an_ack_by_itself(
    sent: ErpExport, answer: Answer, ann: User, operator_client: Client, status: str, kind: str
) -> None:
    bring(status, sent, answer, ann)
    ack = answer(kind, sent, number="X-2")
    look_around(operator_client, sent, ack)
    expected = {
        ("PUSHED", "ack"): ("APPLIED", "ACKED", "PUSHED"),
        ("PUSHED", "error"): ("APPLIED", "FAILED", "ERROR"),
        ("PUSHING", "ack"): ("LATE", "FAILED", "PUSHING"),
        ("PUSHING", "error"): ("LATE", "FAILED", "PUSHING"),
    }
    by_default = ("CONFLICT" if kind == "ack" else "DUPLICATE", "FAILED", status)
    assert (ack.classification, *state(sent)) == expected.get((status, kind), by_default)
    if kind == "ack":
        assert_not_pushed_again(sent, ann)


@pytest.mark.parametrize("kind", ["ack", "error"])
@pytest.mark.parametrize("status", Status.values)
def test_an_ack_that_a_person_accepts(
    sent: ErpExport, answer: Answer, ann: User, operator_client: Client, status: str, kind: str
) -> None:
    if status == Status.PUSHED:
        answer("ack", sent, number="SO-0")
    bring(status, sent, answer, ann)
    ack = answer(kind, sent, number="X-2")
    told = take(operator_client, ack)
    ack.refresh_from_db()
    look_around(operator_client, sent, ack)
    recorded = ["The decision was recorded."]
    if status == Status.PUSHING:
        newer = sent.draft_order.exports.get(status="PENDING")
        assert state(sent) == ("FAILED", "PUSHING")
        assert ack.classification == "LATE"
        if kind == "ack":
            assert newer.filename in told[0] and "Cancel that export first" in told[0]
    elif kind == "ack":
        assert told == recorded
        assert (ack.classification, *state(sent)) == ("APPLIED", "ACKED", "PUSHED")
        assert ErpExport.objects.get(id=sent.id).erp_order_id == "X-2"
        assert_not_pushed_again(sent, ann)
    elif status == Status.PUSHED:
        assert told == recorded
        assert (ack.classification, *state(sent)) == ("APPLIED", "FAILED", "ERROR")
    else:
        assert "This decision is not possible" in told[0]
        assert (ack.classification, *state(sent)) == ("DUPLICATE", "FAILED", status)


@pytest.mark.parametrize("kind", ["ack", "error"])
@pytest.mark.parametrize("status", Status.values)
def test_an_ack_that_a_person_assigns(
    sent: ErpExport, answer: Answer, ann: User, operator_client: Client, status: str, kind: str
) -> None:
    bring(status, sent, answer, ann)
    ack = answer(kind, sent, name="sales_order_typo.json", number="X-2")
    assign(operator_client, ack, sent)
    ack.refresh_from_db()
    if ack.classification == "CONFLICT":
        take(operator_client, ack)
        ack.refresh_from_db()
    look_around(operator_client, sent, ack)
    expected = {
        ("PUSHED", "error"): ("APPLIED", "FAILED", "ERROR"),
        ("PUSHING", "ack"): ("LATE", "FAILED", "PUSHING"),
        ("PUSHING", "error"): ("LATE", "FAILED", "PUSHING"),
    }
    by_default = (
        ("APPLIED", "ACKED", "PUSHED") if kind == "ack" else ("DUPLICATE", "FAILED", status)
    )
    assert (ack.classification, *state(sent)) == expected.get((status, kind), by_default)
    if kind == "ack":
        assert_not_pushed_again(sent, ann)


@pytest.mark.parametrize("status", Status.values)
def test_rows_that_do_not_fit_each_other_are_put_right(
    sent: ErpExport, answer: Answer, status: str
) -> None:
    """An older version left such rows; so may a hand in the database."""
    DraftOrder.objects.filter(id=sent.draft_order_id).update(status=status)
    answer("ack", sent)
    assert state(sent) == ("ACKED", "PUSHED")


@pytest.mark.parametrize("status", Status.values)
def test_a_refusal_leaves_what_a_person_has_decided(
    sent: ErpExport, answer: Answer, operator_client: Client, status: str
) -> None:
    answer("ack", sent)
    DraftOrder.objects.filter(id=sent.draft_order_id).update(status=status)
    assert take(operator_client, answer("error", sent)) == ["The decision was recorded."]
    is_out = status in (Status.PUSHING, Status.PUSHED)
    assert state(sent) == ("FAILED", "ERROR" if is_out else status)


# What is kept, and what is told.
@pytest.mark.parametrize("status", STALE)
def test_what_was_sent_keeps_its_approval(
    sent: ErpExport, answer: Answer, ann: User, operator_client: Client, org: Org, status: str
) -> None:
    before = DraftOrder.objects.get(id=sent.draft_order_id)
    bring(status, sent, answer, ann)
    edited = DraftOrder.objects.get(id=sent.draft_order_id)
    ack = answer("ack", sent)
    take(operator_client, ack)
    export = ErpExport.objects.get(id=sent.id)
    order = DraftOrder.objects.get(id=sent.draft_order_id)
    assert (export.approved_by, export.approved_hash) == (ann, before.approved_hash)
    assert export.content == sent.content
    assert (order.notes, order.approved_by) == (edited.notes, edited.approved_by)
    (entry,) = AuditEntry.objects.filter(action="order.accepted_late")
    assert (entry.object_id, entry.before) == (str(order.id), {"status": status})
    assert entry.after["filename"] == sent.filename
    shown = page(operator_client, "orders_draftorder_change", order)
    assert f"Its status before was “{edited.get_status_display()}”." in shown
    assert ("The ERP has the content of the export" in shown) is (status in EDITED)
    assert f"Order status before</dt><dd>{edited.get_status_display()}" in re.sub(
        r">\s+<", "><", page(operator_client, "exports_erpexport_change", export)
    )


def test_an_edited_order_can_be_refused_and_corrected_after_all(
    sent: ErpExport, answer: Answer, ann: User, operator_client: Client
) -> None:
    bring(Status.READY, sent, answer, ann)
    take(operator_client, answer("ack", sent))
    order = DraftOrder.objects.get(id=sent.draft_order_id)
    preview = operator_client.get(page_url("orders_draftorder_preview", order.id), follow=True)
    assert "no approval" in messages(preview)[0]
    take(operator_client, answer("error", sent, number="E2"))
    assert state(sent) == ("FAILED", "ERROR")
    with pytest.raises(RuleViolation) as refused:
        retry_order(order.id, actor=ann)
    assert refused.value.code == "CHANGED_SINCE_APPROVAL"
    approval.approve(order.id, actor=ann)
    assert push_order(order.id, actor=ann).approved_hash != sent.approved_hash


# A newer export.
@pytest.fixture
def late(sent: ErpExport, answer: Answer, ann: User) -> ErpAck:
    """The ERP accepts an export after another one of the order was begun."""
    bring(Status.PUSHING, sent, answer, ann)
    ack = answer("ack", sent)
    assert ack.classification == "LATE"
    return ack


def newer(export: ErpExport) -> ErpExport:
    return export.draft_order.exports.exclude(id=export.id).get()


def test_a_late_acceptance_counts_once_the_newer_export_is_cancelled(
    sent: ErpExport, late: ErpAck, ann: User, operator_client: Client
) -> None:
    cancel_export(newer(sent).id, actor=ann)
    assert state(sent) == ("FAILED", "APPROVED")
    for again in (push_order, retry_order):
        with pytest.raises(RuleViolation) as refused:
            again(sent.draft_order_id, actor=ann)
        assert refused.value.code == "OPEN_CONFLICT"
        assert refused.value.extra == {"ack": late.id}
    assert take(operator_client, late) == ["The decision was recorded."]
    assert state(sent) == ("ACKED", "PUSHED")
    assert_not_pushed_again(sent, ann)
    shown = page(operator_client, "orders_draftorder_change", sent.draft_order)
    assert sent.filename in shown and newer(sent).filename not in shown


# The order has an older export that is live and a newer one that failed.
@pytest.fixture
def cancelled(sent: ErpExport, late: ErpAck, ann: User) -> ErpExport:
    # In one transaction both were made at the same moment.
    ErpExport.objects.filter(id=sent.id).update(created_at=db_now() - timedelta(hours=1))
    cancel_export(newer(sent).id, actor=ann)
    return newer(sent)


@pytest.fixture
def accepted(
    cancelled: ErpExport, sent: ErpExport, late: ErpAck, operator_client: Client
) -> ErpExport:
    assert take(operator_client, late) == ["The decision was recorded."]
    assert state(sent) == ("ACKED", "PUSHED")
    return sent


def latest_exports(org: Org, order_id: Any) -> list[Any]:
    """What the API shows of an order, alone and in the list."""
    service = client(person("olivia", org, "Integration"), org)
    (listed,) = service.get(ORDERS).json()["results"]
    return [service.get(f"{ORDERS}/{order_id}").json()["latest_export"], listed["latest_export"]]


def test_the_api_shows_the_export_that_was_accepted_late(org: Org, accepted: ErpExport) -> None:
    for shown in latest_exports(org, accepted.draft_order_id):
        assert (shown["id"], shown["status"]) == (str(accepted.id), "ACKED")
        assert shown["erp_order_id"] == "SO-1"


def test_the_list_leads_to_the_export_that_was_accepted_late(
    operator_client: Client, accepted: ErpExport
) -> None:
    shown = operator_client.get(reverse("admin:orders_draftorder_changelist")).content.decode()
    assert page_url("exports_erpexport_change", accepted.id) in shown
    assert page_url("exports_erpexport_change", newer(accepted).id) not in shown
    (cell,) = re.findall(r'class="field-latest_export">(.*?)</td>', shown)
    assert "acknowledged" in cell


def test_the_csv_has_the_export_that_was_accepted_late(
    operator_client: Client, accepted: ErpExport
) -> None:
    file = operator_client.get(reverse("admin:orders_draftorder_csv"))
    lines = b"".join(file.streaming_content).decode("utf-8-sig").splitlines()
    (row,) = csv.DictReader(lines)
    assert row["latest export"] == "ACKED"


def test_the_search_finds_the_export_that_was_accepted_late(
    operator_client: Client, accepted: ErpExport
) -> None:
    # By the beginning of the number: the whole number leads straight to the order.
    number = accepted.draft_order.external_order_number[:-1]
    shown = operator_client.get("/admin/search/", {"q": number}).content.decode()
    assert "In the ERP as SO-1." in shown and "Not in the ERP" not in shown


def test_the_page_of_the_order_shows_the_export_that_was_accepted_late(
    operator_client: Client, accepted: ErpExport
) -> None:
    shown = page(operator_client, "orders_draftorder_change", accepted.draft_order)
    assert accepted.filename in shown and newer(accepted).filename not in shown
    assert "SO-1" in shown


def test_a_push_names_the_export_that_was_accepted_late(ann: User, accepted: ErpExport) -> None:
    for again in (push_order, retry_order):
        with pytest.raises(RuleViolation) as refused:
            again(accepted.draft_order_id, actor=ann)
        assert refused.value.extra == {"export": accepted.id}


def test_of_failed_exports_the_newest_is_shown(
    org: Org, operator_client: Client, sent: ErpExport, cancelled: ErpExport
) -> None:
    shown = latest_exports(org, sent.draft_order_id)
    assert [export["id"] for export in shown] == [str(cancelled.id)] * 2
    listed = operator_client.get(reverse("admin:orders_draftorder_changelist")).content.decode()
    assert page_url("exports_erpexport_change", cancelled.id) in listed
    opened = page(operator_client, "orders_draftorder_change", sent.draft_order)
    assert cancelled.filename in opened and sent.filename not in opened


def test_a_late_acceptance_counts_once_the_newer_export_is_given_up(
    erp: ErpConnection,
    dropzone: Dropzone,
    sent: ErpExport,
    late: ErpAck,
    ann: User,
    operator_client: Client,
) -> None:
    deliver(erp.id)
    assert state(newer(sent)) == ("SENT", "PUSHED")
    (told,) = take(operator_client, late)
    assert newer(sent).filename in told and "Resolve that export manually first" in told
    (dropzone.exports / newer(sent).filename).unlink()
    with pytest.raises(RuleViolation):
        resolve(newer(sent).id, Resolution.GIVEN_UP, actor=ann, reason="Lost", push_again=True)
    resolve(newer(sent).id, Resolution.GIVEN_UP, actor=ann, reason="Removed there")
    assert take(operator_client, late) == ["The decision was recorded."]
    assert state(sent) == ("ACKED", "PUSHED")


def test_the_newer_one_is_refused_as_the_duplicate_that_it_is(
    erp: ErpConnection, sent: ErpExport, late: ErpAck, answer: Answer, operator_client: Client
) -> None:
    deliver(erp.id)
    answer("error", newer(sent), number="DUPLICATE_ORDER")
    assert take(operator_client, late) == ["The decision was recorded."]
    assert state(sent) == ("ACKED", "PUSHED")


def test_when_the_erp_has_accepted_both_a_person_is_told(
    erp: ErpConnection, sent: ErpExport, late: ErpAck, answer: Answer, operator_client: Client
) -> None:
    deliver(erp.id)
    answer("ack", newer(sent), number="SO-2")
    (told,) = take(operator_client, late)
    assert newer(sent).filename in told and "may have the order twice" in told
    assert state(sent) == ("FAILED", "PUSHED")
    late.refresh_from_db()
    assert late.classification == "LATE"


def test_a_failed_newer_export_makes_no_ack_late(
    sent: ErpExport, answer: Answer, ann: User, operator_client: Client
) -> None:
    bring(Status.PUSHING, sent, answer, ann)
    cancel_export(newer(sent).id, actor=ann)
    # In one transaction both were made at the same moment.
    ErpExport.objects.filter(id=sent.id).update(created_at="2026-01-01T00:00Z")
    ack = answer("ack", sent)
    assert ack.classification == "CONFLICT"
    take(operator_client, ack)
    assert state(sent) == ("ACKED", "PUSHED")
    assert answer("ack", sent, number="SO-9").classification == "CONFLICT"


def test_a_late_refusal_is_only_dismissed(
    sent: ErpExport, answer: Answer, ann: User, operator_client: Client
) -> None:
    bring(Status.PUSHING, sent, answer, ann)
    ack = answer("error", sent, number="E2")
    assert page_url("exports_erpack_accept", ack.id) not in page(
        operator_client, "exports_erpack_change", ack
    )
    with pytest.raises(RuleViolation) as refused:
        review.accept(ack.id, actor=ann, reason="?")
    assert refused.value.code == "NO_CONFLICT"
    cancel_export(newer(sent).id, actor=ann)
    review.dismiss(ack.id, actor=ann, reason="Known")
    assert retry_order(sent.draft_order_id, actor=ann)


@pytest.mark.parametrize("again", [push_order, retry_order])
def test_a_late_refusal_holds_up_no_push(
    sent: ErpExport, answer: Answer, ann: User, again: Callable[..., ErpExport]
) -> None:
    """The ERP does not have the order, so it cannot get it twice."""
    bring(Status.PUSHING, sent, answer, ann)
    assert answer("error", sent, number="E2").classification == "LATE"
    cancel_export(newer(sent).id, actor=ann)
    assert again(sent.draft_order_id, actor=ann).status == "PENDING"


def test_an_ack_of_another_order_holds_up_no_push(
    sent: ErpExport, answer: Answer, ann: User
) -> None:
    bring(Status.ERROR, sent, answer, ann)
    assert answer("ack", sent, number="SO-2").classification == "CONFLICT"
    assert review.open_conflicts([sent.draft_order_id]).keys() == {sent.draft_order_id}
    other = an_approved_order(sent.org, ann, "PO-other")
    assert review.open_conflicts([other.id]) == {}

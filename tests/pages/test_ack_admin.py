"""Acks to review: what people see of the ERP's acks, and what they decide about them."""

import html
import json
import re
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F
from django.test import Client
from django.urls import reverse
from django_q.models import OrmQ

from accounts.models import Org, User
from connectors import circuit_breaker
from connectors.errors import ConnectorError
from connectors.models import ErpConnection
from exports.acks.poller import poll
from exports.delivery import heartbeat
from exports.delivery.protocol import deliver
from exports.models import ErpAck, ErpExport
from exports.pushing.push import retry_order
from kernel.db import db_now
from orders.models import DraftOrder
from tests.support.admins import a_member, logged_in, messages
from tests.support.builders import a_connection, a_user, an_org, pause_by_system, some_exports
from tests.support.dropzones import Dropzone

pytestmark = pytest.mark.django_db

XSS = "<script>alert('x')</script>"
TYPO = "ack_sales_order_typo.json"


def url(name: str, *args: object) -> str:
    return reverse(f"admin:exports_{name}", args=args)


def text(response: Any) -> str:
    assert response.status_code == 200
    return str(response.content.decode())


def answer(dropzone: Dropzone, erp: ErpConnection, name: str, content: Any) -> ErpAck:
    """Let the ERP write an ack file and poll it; return the recorded ack."""
    data = content if isinstance(content, str) else json.dumps(content)
    (dropzone.acks / name).write_text(data)
    poll(erp.id)
    return ErpAck.objects.filter(filename=name).latest("seen_at")


def accept(dropzone: Dropzone, erp: ErpConnection, export: ErpExport, number: str) -> ErpAck:
    content = {"status": "ACKED", "erp_order_id": number}
    return answer(dropzone, erp, f"ack_{export.filename}", content)


def refuse(dropzone: Dropzone, erp: ErpConnection, export: ErpExport) -> ErpAck:
    content = {"status": "FAILED", "error_code": "E17", "message": "No such customer"}
    return answer(dropzone, erp, f"error_{export.filename}", content)


def status(export: ErpExport) -> tuple[str, str]:
    """The export's and its order's status."""
    row = ErpExport.objects.select_related("draft_order").get(id=export.id)
    return row.status, row.draft_order.status


@pytest.fixture
def conflict(dropzone: Dropzone, erp: ErpConnection, three_sent: list[ErpExport]) -> ErpAck:
    """The ERP refused an order and says later that it has accepted it."""
    refuse(dropzone, erp, three_sent[0])
    ack = accept(dropzone, erp, three_sent[0], "SO-7")
    assert ack.classification == "CONFLICT"
    return ack


@pytest.fixture
def unmatched(dropzone: Dropzone, erp: ErpConnection, three_sent: list[ErpExport]) -> ErpAck:
    ack = answer(dropzone, erp, TYPO, {"status": "ACKED", "erp_order_id": "SO-3"})
    assert ack.classification == "UNMATCHED"
    return ack


@pytest.fixture
def malformed(dropzone: Dropzone, erp: ErpConnection, three_sent: list[ErpExport]) -> ErpAck:
    ack = answer(dropzone, erp, f"ack_{three_sent[0].filename}", {"state": "fine"})
    assert ack.classification == "MALFORMED"
    return ack


# The list.
def test_open_answers_are_easy_to_find(
    dropzone: Dropzone,
    erp: ErpConnection,
    three_sent: list[ErpExport],
    unmatched: ErpAck,
    operator_client: Client,
) -> None:
    applied = accept(dropzone, erp, three_sent[0], "SO-1")
    page = text(operator_client.get(url("erpack_changelist")))
    assert "1 ack to review." in page
    assert applied.filename in page
    page = text(operator_client.get(url("erpack_changelist"), {"open": "yes"}))
    assert unmatched.filename in page
    assert applied.filename not in page
    page = text(operator_client.get(url("erpack_changelist"), {"classification__exact": "APPLIED"}))
    assert applied.filename in page
    assert unmatched.filename not in page
    operator_client.post(url("erpack_dismiss", unmatched.id), {"reason": "A test of theirs"})
    assert "to review." not in text(operator_client.get(url("erpack_changelist")))


def test_search_finds_file_order_and_erp_number(
    dropzone: Dropzone, erp: ErpConnection, three_sent: list[ErpExport], operator_client: Client
) -> None:
    for number, export in enumerate(three_sent):
        accept(dropzone, erp, export, f"SO-{number}")
    for words in (three_sent[1].filename, three_sent[1].draft_order.external_order_number, "SO-1"):
        page = text(operator_client.get(url("erpack_changelist"), {"q": str(words)}))
        assert "1 result" in page


# The page.
def test_the_page_says_what_the_file_says(
    dropzone: Dropzone, erp: ErpConnection, three_sent: list[ErpExport], operator_client: Client
) -> None:
    ack = refuse(dropzone, erp, three_sent[0])
    page = text(operator_client.get(url("erpack_change", ack.id)))
    for part in ("refused", "E17", "No such customer", "applied", three_sent[0].filename, "PO-0"):
        assert part in page
    assert "&quot;status&quot;: &quot;FAILED&quot;" in page
    assert "state-actions" not in page


def test_the_page_says_what_is_not_known(
    unmatched: ErpAck, malformed: ErpAck, operator_client: Client
) -> None:
    page = text(operator_client.get(url("erpack_change", malformed.id)))
    assert "not readable" in page
    assert "ACK_STATUS: The key “status” must be" in page
    for ack in (unmatched, malformed):
        assert ">None<" not in text(operator_client.get(url("erpack_change", ack.id)))


def test_an_export_shows_its_answers(conflict: ErpAck, operator_client: Client) -> None:
    assert conflict.export
    page = text(operator_client.get(url("erpexport_change", conflict.export.id)))
    assert "Ack to review:" in page
    for ack in conflict.export.acks.all():
        assert url("erpack_change", ack.id) in page


def test_an_export_says_what_it_waits_for(
    dropzone: Dropzone, erp: ErpConnection, three_sent: list[ErpExport], operator_client: Client
) -> None:
    taken, left, _ = three_sent
    (dropzone.exports / taken.filename).unlink()
    poll(erp.id)
    now = db_now()

    def page(export: ErpExport = taken) -> str:
        return text(operator_client.get(url("erpexport_change", export.id)))

    def listed(**filters: str) -> set[str]:
        found = text(operator_client.get(url("erpexport_changelist"), filters))
        return {export.filename for export in three_sent if export.filename in found}

    assert "picked up" in page()
    assert listed(picked_up="yes") == {taken.filename}
    assert listed(picked_up="no") == {export.filename for export in three_sent[1:]}
    assert listed(overdue="yes") == set()
    ErpExport.objects.update(ack_due_at=now + timedelta(days=1))
    assert "The ERP has not acknowledged it yet. Ack due: " in page()
    ErpExport.objects.exclude(id=three_sent[2].id).update(ack_due_at=now - timedelta(days=1))
    assert "Ask the ERP team what became of the order." in page()
    assert "the file was not picked up as far as is known" in page(left)
    assert listed(overdue="yes") == {taken.filename, left.filename}
    dropzone.acks.rmdir()
    poll(erp.id)
    assert "Acks cannot be read now." in page()
    assert "DIR_MISSING" in page()

    ErpExport.objects.filter(id=left.id).update(status="PENDING", next_attempt_at=now)
    assert "no worker is running" in page(left)
    heartbeat.register()
    assert "A worker sends it now." in page(left)
    ErpExport.objects.filter(id=left.id).update(next_attempt_at=now + timedelta(hours=1))
    assert "Next try: " in page(left)
    circuit_breaker.record_failure(erp, ConnectorError("CONNECT_TIMEOUT"))
    assert "Waiting: the connection fails. " in page(left)
    circuit_breaker.pause(erp.id, reason="Holiday", actor=User.objects.get(username="ann"))
    assert "the connection is paused. Reason: Holiday (ann)" in page(left)


def test_where_no_answers_are_read_none_is_expected(
    dropzone: Dropzone, org: Org, operator_client: Client
) -> None:
    config = {name: value for name, value in dropzone.config.items() if name != "ack_path"}
    erp = a_connection(org, config)
    (export,) = some_exports(org, a_user(org))
    deliver(erp.id)
    page = text(operator_client.get(url("erpexport_change", export.id)))
    assert "no ack is expected" in page
    page = text(
        operator_client.get(reverse("admin:connectors_erpconnection_change", args=[erp.id]))
    )
    assert "the connection has no ack folder" in page
    assert "Check acks" not in page


# The connection.
def test_a_connection_says_how_its_answers_come(
    dropzone: Dropzone, erp: ErpConnection, three_sent: list[ErpExport], operator_client: Client
) -> None:
    there = reverse("admin:connectors_erpconnection_change", args=[erp.id])
    assert "never" in text(operator_client.get(there))
    accept(dropzone, erp, three_sent[0], "SO-1")
    answer(dropzone, erp, TYPO, {"status": "ACKED"})
    now = db_now()
    ErpExport.objects.filter(id=three_sent[0].id).update(
        sent_at=now - timedelta(seconds=90), acked_at=now
    )
    ErpExport.objects.filter(id=three_sent[1].id).update(ack_due_at=now - timedelta(days=1))
    page = text(operator_client.get(there))
    for told in (
        "half within 90 s, 95 % within 90 s (1 acknowledged in 7 days)",
        "Acks to review",
        "Acks overdue",
    ):
        assert told in page
    for link in re.findall(r'href="([^"]+erp_connection__id__exact[^"]+)"', page):
        assert "1 ERP" in text(operator_client.get(html.unescape(link)))
    (dropzone.acks / "processed").rename(dropzone.acks / "away")
    (dropzone.acks / "processed").write_text("in the way")
    accept(dropzone, erp, three_sent[2], "SO-2")
    page = text(operator_client.get(there))
    assert "ACK_MOVE_FAILED" in page
    assert "Give the user the right to create folders" in page


def test_check_acks_now(erp: ErpConnection, operator_client: Client, org: Org) -> None:
    there = reverse("admin:connectors_erpconnection_poll", args=[erp.id])
    later = db_now() + timedelta(minutes=1)
    ErpConnection.objects.update(poll_due_at=later)
    OrmQ.objects.all().delete()
    assert "reads the ack folder now" in text(operator_client.get(there))
    assert not OrmQ.objects.exists()
    assert messages(operator_client.post(there, follow=True)) == ["A worker checks for acks now."]
    (task,) = OrmQ.objects.all()
    assert (task.task["func"], task.task["args"]) == ("worker.tasks.poll_acks", (str(erp.id),))
    pause_by_system(erp, "AUTH_FAILED")
    for ask in (operator_client.get, operator_client.post):
        assert "The dropzone cannot be reached." in text(ask(there, follow=True))
    assert OrmQ.objects.count() == 1
    approver = logged_in(a_member(org, "adam", "Approver"))
    assert approver.post(there).status_code == 403


# Decisions.
@pytest.mark.parametrize(
    ("classification", "offered"),
    [
        ("CONFLICT", ["accept", "dismiss"]),
        ("LATE", ["accept", "dismiss"]),
        ("UNMATCHED", ["assign", "dismiss"]),
        ("MALFORMED", ["assign", "dismiss"]),
        ("APPLIED", []),
        ("DUPLICATE", []),
        ("WAITING", []),
        ("DISMISSED", []),
    ],
)
def test_each_classification_has_its_decisions(
    unmatched: ErpAck,
    three_sent: list[ErpExport],
    org: Org,
    operator_client: Client,
    classification: str,
    offered: list[str],
) -> None:
    ErpAck.objects.update(classification=classification, export=three_sent[0])
    viewer = logged_in(a_member(org, "vera", "Viewer"))
    for name in ("assign", "accept", "dismiss"):
        is_offered = name in offered
        there = url(f"erpack_{name}", unmatched.id)
        assert (
            f'href="{there}"' in text(operator_client.get(url("erpack_change", unmatched.id)))
        ) is (is_offered)
        assert there not in text(viewer.get(url("erpack_change", unmatched.id)))
        if not is_offered:
            for response in (
                operator_client.get(there, follow=True),
                operator_client.post(there, follow=True),
            ):
                assert messages(response)[0].endswith("This decision is not possible.")


def test_both_answers_stand_side_by_side(conflict: ErpAck, operator_client: Client) -> None:
    for name in ("change", "accept", "dismiss"):
        page = text(operator_client.get(url(f"erpack_{name}", conflict.id)))
        first, second = page.split("<h2>This ack</h2>")
        assert "No such customer" in first.split("Counts now")[1]
        assert "SO-7" in second


def test_let_the_later_answer_count(
    conflict: ErpAck, three_sent: list[ErpExport], oskar: User
) -> None:
    client = logged_in(oskar)
    there = url("erpack_accept", conflict.id)
    page = text(client.get(there))
    assert "changes from “failed” to “acknowledged”. Its ERP number is SO-7." in page
    assert "Order PO-0 changes from “error” to “pushed”." in page
    assert "This field is required." in text(client.post(there))
    assert status(three_sent[0]) == ("FAILED", "ERROR")
    page = client.post(there, {"reason": "Reprocessed"}, follow=True)
    assert messages(page) == ["The decision was recorded."]
    assert "Reprocessed" in text(page)
    assert status(three_sent[0]) == ("ACKED", "PUSHED")
    conflict.refresh_from_db()
    assert (conflict.classification, conflict.decided_by) == ("APPLIED", oskar)
    history = text(client.get(url("erpack_history", conflict.id)))
    assert "Let the later ack count: Reprocessed" in history


def test_keep_the_first_answer(
    conflict: ErpAck, three_sent: list[ErpExport], operator_client: Client
) -> None:
    there = url("erpack_dismiss", conflict.id)
    page = text(operator_client.get(there))
    assert "stays as it is: failed." in page
    assert "Order PO-0 stays as it is: error. It can be corrected and pushed again." in page
    operator_client.post(there, {"reason": "They say it was refused"})
    assert status(three_sent[0]) == ("FAILED", "ERROR")
    conflict.refresh_from_db()
    assert (conflict.classification, conflict.reason) == ("DISMISSED", "They say it was refused")


def test_what_forbids_a_decision_is_said(
    conflict: ErpAck, three_sent: list[ErpExport], operator_client: Client
) -> None:
    # Another export of the order, from before the contradiction was known.
    ErpAck.objects.filter(id=conflict.id).update(classification="DUPLICATE")
    retry_order(three_sent[0].draft_order_id, actor=User.objects.get(username="ann"))
    ErpAck.objects.filter(id=conflict.id).update(classification="CONFLICT")
    there = url("erpack_accept", conflict.id)
    for ask in (operator_client.get, operator_client.post):
        assert "was exported again as" in messages(ask(there, {"reason": "?"}, follow=True))[0]
    conflict.refresh_from_db()
    assert conflict.classification == "CONFLICT"


def test_a_late_answer_is_dismissed(
    dropzone: Dropzone, erp: ErpConnection, three_sent: list[ErpExport], operator_client: Client
) -> None:
    refuse(dropzone, erp, three_sent[0])
    ErpExport.objects.update(created_at=F("created_at") - timedelta(minutes=1))
    retry_order(three_sent[0].draft_order_id, actor=User.objects.get(username="ann"))
    deliver(erp.id)
    late = accept(dropzone, erp, three_sent[0], "SO-1")
    assert late.classification == "LATE"
    assert "may have the order twice" in text(operator_client.get(url("erpack_change", late.id)))
    operator_client.post(url("erpack_dismiss", late.id), {"reason": "Cancelled there"})
    late.refresh_from_db()
    assert late.classification == "DISMISSED"


# Assigning.
def candidates(page: str) -> list[str]:
    return re.findall(r'name="export" value="([^"]+)"', page)


def test_the_most_similar_names_come_first(
    dropzone: Dropzone, erp: ErpConnection, three_sent: list[ErpExport], operator_client: Client
) -> None:
    accept(dropzone, erp, three_sent[2], "SO-1")
    for export, other in ((three_sent[0], three_sent[1]), (three_sent[1], three_sent[0])):
        mistyped = f"ack_{export.filename[:-7]}x{export.filename[-6:]}"
        ack = answer(dropzone, erp, mistyped, {"status": "ACKED"})
        page = text(operator_client.get(url("erpack_assign", ack.id)))
        assert candidates(page) == [str(export.id), str(other.id)], "the answered one is not there"


def test_an_answer_is_assigned_after_a_look_at_what_it_does(
    dropzone: Dropzone,
    erp: ErpConnection,
    three_sent: list[ErpExport],
    unmatched: ErpAck,
    operator_client: Client,
) -> None:
    there = url("erpack_assign", unmatched.id)
    entered = {"export": str(three_sent[1].id), "reason": "Typo"}
    page = text(operator_client.post(there, entered))
    assert f"Export {three_sent[1].filename} changes from “sent” to “acknowledged”" in page
    assert "Its ERP number is SO-3." in page
    assert "Order PO-1 stays as it is: pushed." in page
    assert "moved out of the ack folder by the next poll" in page
    assert status(three_sent[1]) == ("SENT", "PUSHED")
    hidden = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page))
    del hidden["csrfmiddlewaretoken"]
    assert messages(operator_client.post(there, hidden, follow=True)) == [
        "The decision was recorded."
    ]
    assert status(three_sent[1]) == ("ACKED", "PUSHED")
    assert (dropzone.acks / TYPO).exists()
    poll(erp.id)
    assert not (dropzone.acks / TYPO).exists()


def test_another_export_is_named_by_its_file(
    dropzone: Dropzone,
    erp: ErpConnection,
    three_sent: list[ErpExport],
    unmatched: ErpAck,
    operator_client: Client,
) -> None:
    accept(dropzone, erp, three_sent[0], "SO-1")
    there = url("erpack_assign", unmatched.id)
    entered = {"filename": f" {three_sent[0].filename} ", "reason": "They say so"}
    page = text(operator_client.post(there, entered))
    assert "decide next which of the two is right" in page
    operator_client.post(there, entered | {"confirmed": "yes"})
    unmatched.refresh_from_db()
    assert (unmatched.classification, unmatched.export) == ("CONFLICT", three_sent[0])
    assert status(three_sent[0]) == ("ACKED", "PUSHED")


@pytest.mark.parametrize(
    ("entered", "error"),
    [
        ({}, "Choose one export, or enter the name of its file."),
        ({"export": "{own}", "filename": "x"}, "Choose one export, or enter the name"),
        ({"export": "{rival}"}, "Select a valid choice."),
        ({"filename": "{rival_file}"}, "This connection has no export with this file name."),
        ({"filename": "{unsent_file}"}, "was not sent yet."),
        ({"export": "{own}", "reason": ""}, "This field is required."),
    ],
)
def test_what_cannot_be_assigned(
    org: Org,
    dropzone: Dropzone,
    three_sent: list[ErpExport],
    unmatched: ErpAck,
    operator_client: Client,
    entered: dict[str, str],
    error: str,
) -> None:
    rival = an_org("rival")
    a_connection(rival, dropzone.config)
    (theirs,) = some_exports(rival, a_user(rival, "bob"))
    (unsent,) = some_exports(org, User.objects.get(username="ann"), first=9)
    names = {
        "own": three_sent[0].id,
        "rival": theirs.id,
        "rival_file": theirs.filename,
        "unsent_file": unsent.filename,
    }
    data = {name: value.format(**names) for name, value in entered.items()}
    for confirmed in ({}, {"confirmed": "yes"}):
        page = operator_client.post(
            url("erpack_assign", unmatched.id), {"reason": "?", **data, **confirmed}
        )
        assert error in text(page)
        assert "Effect of the ack" not in text(page)
    unmatched.refresh_from_db()
    assert unmatched.classification == "UNMATCHED"


def test_a_person_says_what_a_malformed_file_answers(
    three_sent: list[ErpExport], malformed: ErpAck, operator_client: Client
) -> None:
    there = url("erpack_assign", malformed.id)
    page = text(operator_client.get(there))
    assert candidates(page)[0] == str(three_sent[0].id)
    assert re.search(rf'value="{three_sent[0].id}"[^>]* checked', page), (
        "the one that its name says"
    )
    entered = {"export": str(three_sent[0].id), "outcome": "accepted", "reason": "Asked them"}
    assert "This field is required." in text(operator_client.post(there, entered | {"outcome": ""}))
    contradiction = operator_client.post(there, entered | {"message": "No"})
    assert "This contradicts what you chose above" in text(contradiction)
    entered["erp_order_id"] = "SO-5"
    assert "Its ERP number is SO-5." in text(operator_client.post(there, entered))
    operator_client.post(there, entered | {"confirmed": "yes"})
    assert status(three_sent[0]) == ("ACKED", "PUSHED")
    assert ErpExport.objects.get(id=three_sent[0].id).erp_order_id == "SO-5"


def test_a_person_reads_a_refusal(
    three_sent: list[ErpExport], malformed: ErpAck, operator_client: Client
) -> None:
    there = url("erpack_assign", malformed.id)
    entered = {
        "export": str(three_sent[0].id),
        "outcome": "refused",
        "error_code": "E17",
        "message": "No such customer",
        "reason": "Asked them",
    }
    page = text(operator_client.post(there, entered))
    assert "The ERP refused the order: E17: No such customer" in page
    assert "“pushed” to “error”. It can be corrected and pushed again." in page
    operator_client.post(there, entered | {"confirmed": "yes"})
    assert status(three_sent[0]) == ("FAILED", "ERROR")


def test_a_malformed_answer_to_what_was_answered_since_is_still_about_it(
    dropzone: Dropzone,
    erp: ErpConnection,
    three_sent: list[ErpExport],
    malformed: ErpAck,
    operator_client: Client,
) -> None:
    accept(dropzone, erp, three_sent[0], "SO-1")
    page = text(operator_client.get(url("erpack_assign", malformed.id)))
    assert str(three_sent[0].id) not in candidates(page)
    assert f'name="filename" value="{three_sent[0].filename}"' in page


# Who may do what.
def test_who_may_decide(org: Org, unmatched: ErpAck) -> None:
    for group, code in (("Viewer", 403), ("Approver", 403), ("Operator", 200)):
        client = logged_in(a_member(org, group.lower(), group))
        for name in ("assign", "dismiss"):
            there = url(f"erpack_{name}", unmatched.id)
            assert client.get(there).status_code == code
            if code == 403:
                assert client.post(there, {"reason": "?"}).status_code == code
        assert (
            client.post(url("erpack_change", unmatched.id), {"classification": "x"}).status_code
            == 403
        )
    unmatched.refresh_from_db()
    assert unmatched.classification == "UNMATCHED"


def test_answers_to_other_orgs_are_not_found(three_sent: list[ErpExport], conflict: ErpAck) -> None:
    rival = an_org("rival")
    stranger = logged_in(a_member(rival, "sam", "Operator"))
    for name in ("assign", "accept", "dismiss"):
        there = url(f"erpack_{name}", conflict.id)
        assert stranger.get(there).status_code == 404
        assert stranger.post(there, {"reason": "?", "confirmed": "yes"}).status_code == 404
    # Django's own page leads to the index with a message that there is no such object.
    assert stranger.get(url("erpack_change", conflict.id)).status_code == 302
    page = text(stranger.get(url("erpack_changelist")))
    assert conflict.filename not in page
    assert "to review." not in page
    conflict.refresh_from_db()
    assert conflict.classification == "CONFLICT"


def test_decisions_ask_for_the_csrf_token(org: Org, conflict: ErpAck) -> None:
    strict = logged_in(a_member(org, "oskar", "Operator"), enforce_csrf_checks=True)
    for name in ("assign", "accept", "dismiss"):
        there = url(f"erpack_{name}", conflict.id)
        assert strict.post(there, {"reason": "?"}).status_code == 403
        if name != "assign":
            assert "csrfmiddlewaretoken" in text(strict.get(there))


def test_markup_in_answers_is_text(
    dropzone: Dropzone, erp: ErpConnection, three_sent: list[ErpExport], operator_client: Client
) -> None:
    content = {"status": "FAILED", "error_code": XSS, "message": XSS, "note": XSS}
    refused = answer(dropzone, erp, f"error_{three_sent[0].filename}", content)
    conflict = accept(dropzone, erp, three_sent[0], XSS)
    unmatched = answer(dropzone, erp, TYPO, content)
    ErpAck.objects.filter(id=unmatched.id).update(filename=f"ack_{XSS}.json", note=XSS)
    operator_client.post(url("erpack_dismiss", refused.id), {"reason": XSS})
    there = url("erpack_assign", unmatched.id)
    pages = [
        *(
            operator_client.get(url("erpack_change", ack.id))
            for ack in (refused, conflict, unmatched)
        ),
        operator_client.get(url("erpack_changelist")),
        operator_client.get(url("erpexport_change", three_sent[0].id)),
        operator_client.get(url("erpack_accept", conflict.id)),
        operator_client.get(url("erpack_dismiss", unmatched.id)),
        operator_client.get(there),
        operator_client.post(there, {"export": str(three_sent[1].id), "reason": XSS}),
        operator_client.post(url("erpack_accept", conflict.id), {"reason": XSS}, follow=True),
        operator_client.get(url("erpack_history", conflict.id)),
    ]
    for page in pages:
        assert XSS not in text(page)
        assert "&lt;script&gt;alert(" in text(page)
        assert not re.search(r"<script(?![^>]*\bsrc=)[^>]*>\s*\S", text(page))
        assert not re.search(r"\s(style|on\w+)=\"", text(page))
    assert DraftOrder.objects.get(id=three_sent[0].draft_order_id).status == "PUSHED"

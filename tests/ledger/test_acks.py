"""What an ack leads to: each counts once, whatever its name and whenever it comes."""

import json
import os
from datetime import timedelta
from itertools import product

import pytest
from django.db.models import F

from accounts.models import Org, User
from connectors.models import ErpConnection
from connectors.port import Ack
from exports.acks import review
from exports.acks.poller import poll
from exports.delivery.protocol import deliver
from exports.models import ErpAck, ErpExport
from exports.pushing.push import retry_order
from kernel.db import db_now
from kernel.errors import RuleViolation
from tests.support.acks import accept, classifications, places, refuse, state, write
from tests.support.builders import a_connection, a_user, an_org, some_exports
from tests.support.dropzones import Dropzone

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.ledger,
    pytest.mark.dropzones("filesystem", "openssh"),
]


# What an answer leads to.
def test_an_accepted_order(dropzone: Dropzone, erp: ErpConnection, sent: ErpExport) -> None:
    accept(dropzone, sent, "SO-4711")
    summary = poll(erp.id)
    assert summary.classifications == {"APPLIED": 1}
    assert state(sent) == ("ACKED", "PUSHED")
    sent.refresh_from_db()
    assert sent.erp_order_id == "SO-4711"
    assert sent.acked_at
    assert places(dropzone) == {
        "waiting": [],
        "processed": [f"ack_{sent.filename}"],
        "error": [],
    }
    (ack,) = ErpAck.objects.all()
    assert (ack.export, ack.classification) == (sent, "APPLIED")
    assert ack.moved_at
    assert json.loads(ack.raw)["erp_order_id"] == "SO-4711"
    erp.refresh_from_db()
    assert erp.last_poll_at


def test_a_refused_order_can_be_corrected_and_pushed_again(
    dropzone: Dropzone, erp: ErpConnection, sent: ErpExport, ann: User
) -> None:
    refuse(dropzone, sent)
    poll(erp.id)
    assert state(sent) == ("FAILED", "ERROR")
    sent.refresh_from_db()
    assert sent.error_json
    assert (sent.error_json["code"], sent.error_json["erp_code"]) == (
        "ERP_REFUSED",
        "CUSTOMER_UNKNOWN",
    )
    assert "No such customer" in sent.error_json["message"]
    assert places(dropzone)["processed"] == [f"error_{sent.filename}"]
    again = retry_order(sent.draft_order_id, actor=ann)
    assert deliver(erp.id).sent == 1
    accept(dropzone, again)
    poll(erp.id)
    assert state(again) == ("ACKED", "PUSHED")


@pytest.mark.parametrize("name", ["{file}.json", "full"])
def test_names_that_the_guide_may_be_read_for(
    dropzone: Dropzone, erp: ErpConnection, sent: ErpExport, name: str
) -> None:
    full = sent.filename.replace(str(sent.draft_order_id)[:8], str(sent.draft_order_id), 1)
    tolerated = full if name == "full" else name.format(file=sent.filename)
    write(dropzone, f"ack_{tolerated}", {"status": "acked"})
    poll(erp.id)
    assert state(sent)[0] == "ACKED"


@pytest.mark.parametrize(("first", "second"), list(product(["ack", "error"], repeat=2)))
def test_two_answers(
    dropzone: Dropzone, erp: ErpConnection, sent: ErpExport, first: str, second: str
) -> None:
    answer = {"ack": accept, "error": refuse}
    answer[first](dropzone, sent)
    poll(erp.id)
    before = state(sent)
    if first == second:
        # The same again under the same name, but not to the letter.
        status = {"ack": "ACKED", "error": "FAILED"}[first]
        number = {"erp_order_id": "SO-1"} if first == "ack" else {}
        write(dropzone, f"{first}_{sent.filename}", {"status": status, **number, "x": 1})
    else:
        answer[second](dropzone, sent)
    poll(erp.id)
    assert state(sent) == before, "the first answer stands"
    expected = "DUPLICATE" if first == second else "CONFLICT"
    assert classifications() == sorted(["APPLIED", expected])
    assert places(dropzone)["waiting"] == []
    assert len(places(dropzone)["processed"]) == 2


def test_another_number_is_a_contradiction(
    dropzone: Dropzone, erp: ErpConnection, sent: ErpExport
) -> None:
    accept(dropzone, sent, "SO-1")
    poll(erp.id)
    accept(dropzone, sent, "SO-2")
    poll(erp.id)
    assert classifications() == ["APPLIED", "CONFLICT"]
    sent.refresh_from_db()
    assert sent.erp_order_id == "SO-1"


def test_the_same_file_again_is_only_moved(
    dropzone: Dropzone, erp: ErpConnection, sent: ErpExport
) -> None:
    for _ in range(3):
        accept(dropzone, sent)
        poll(erp.id)
    assert classifications() == ["APPLIED"]
    assert sent.events.filter(kind="ACKED").count() == 1
    processed = places(dropzone)["processed"]
    assert len(processed) >= 2, "what lay there was not overwritten"
    assert places(dropzone)["waiting"] == []


def test_both_answers_in_one_poll(dropzone: Dropzone, erp: ErpConnection, sent: ErpExport) -> None:
    accept(dropzone, sent)
    os.utime(dropzone.acks / f"ack_{sent.filename}", (1_000_000, 1_000_000))
    refuse(dropzone, sent)
    poll(erp.id)
    assert state(sent)[0] == "ACKED", "the older answer comes first"
    assert classifications() == ["APPLIED", "CONFLICT"]


def test_an_answer_to_an_older_export_is_late(
    dropzone: Dropzone, erp: ErpConnection, sent: ErpExport, ann: User
) -> None:
    refuse(dropzone, sent)
    poll(erp.id)
    ErpExport.objects.update(created_at=F("created_at") - timedelta(minutes=1))
    retry_order(sent.draft_order_id, actor=ann)
    deliver(erp.id)
    accept(dropzone, sent)
    poll(erp.id)
    assert classifications() == ["APPLIED", "LATE"]
    assert state(sent) == ("FAILED", "PUSHED")


def test_an_answer_before_the_export_counts_as_sent(
    dropzone: Dropzone, erp: ErpConnection, org: Org, ann: User
) -> None:
    (export,) = some_exports(org, ann)
    with erp.connector.open(erp.parse_config()) as session:
        staged = f"{export.filename}.aaaaaaaa.tmp"
        assert export.content
        (dropzone.exports / staged).write_bytes(export.content)
        ErpExport.objects.update(
            staged_path=session.staging_path(export.filename, "aaaaaaaa"),
            staged_at=db_now(),
            destination=session.destination().as_json(),
            attempts=1,
        )
    # The worker died right after its rename; the ERP was quick.
    (dropzone.exports / staged).rename(dropzone.exports / export.filename)
    accept(dropzone, export)
    poll(erp.id)
    assert classifications() == ["WAITING"]
    assert places(dropzone)["waiting"] == [f"ack_{export.filename}"]
    assert state(export)[0] == "PENDING"
    assert deliver(erp.id).sent == 1
    poll(erp.id)
    assert classifications() == ["APPLIED"]
    assert state(export)[0] == "ACKED"
    assert places(dropzone)["waiting"] == []


def test_an_answer_to_what_was_never_staged(
    dropzone: Dropzone, erp: ErpConnection, org: Org, ann: User
) -> None:
    (export,) = some_exports(org, ann)
    accept(dropzone, export)
    poll(erp.id)
    poll(erp.id)
    assert classifications() == ["UNMATCHED"]
    assert state(export)[0] == "PENDING"
    assert places(dropzone)["waiting"] == [f"ack_{export.filename}"]


# Decisions.
@pytest.fixture
def conflict(dropzone: Dropzone, erp: ErpConnection, sent: ErpExport) -> ErpAck:
    refuse(dropzone, sent)
    poll(erp.id)
    accept(dropzone, sent, "SO-7")
    poll(erp.id)
    return ErpAck.objects.get(classification="CONFLICT")


def test_an_open_conflict_bars_another_push(conflict: ErpAck, sent: ErpExport, ann: User) -> None:
    with pytest.raises(RuleViolation) as refused:
        retry_order(sent.draft_order_id, actor=ann)
    assert refused.value.code == "OPEN_CONFLICT"
    review.dismiss(conflict.id, actor=ann, reason="The ERP admin says it was refused")
    retry_order(sent.draft_order_id, actor=ann)


def test_the_later_answer_is_taken(conflict: ErpAck, sent: ErpExport, ann: User) -> None:
    review.accept(conflict.id, actor=ann, reason="Reprocessed in the ERP")
    assert state(sent) == ("ACKED", "PUSHED")
    sent.refresh_from_db()
    assert (sent.erp_order_id, sent.error_json) == ("SO-7", None)
    assert ErpAck.objects.filter(classification="APPLIED").count() == 1
    event = sent.events.last()
    assert event
    assert (event.kind, event.actor) == ("ACKED", ann)
    with pytest.raises(RuleViolation) as refused:
        review.dismiss(conflict.id, actor=ann, reason="?")
    assert refused.value.code == "DECIDED"


def test_a_late_refusal_is_taken(
    dropzone: Dropzone, erp: ErpConnection, sent: ErpExport, ann: User
) -> None:
    accept(dropzone, sent)
    poll(erp.id)
    refuse(dropzone, sent)
    poll(erp.id)
    review.accept(
        ErpAck.objects.get(classification="CONFLICT").id, actor=ann, reason="Cancelled there"
    )
    assert state(sent) == ("FAILED", "ERROR")
    retry_order(sent.draft_order_id, actor=ann)


def test_an_unmatched_answer_is_assigned_and_then_moved(
    dropzone: Dropzone, erp: ErpConnection, sent: ErpExport, ann: User
) -> None:
    name = "ack_sales_order_typo.json"
    write(dropzone, name, {"status": "ACKED", "erp_order_id": "SO-3"})
    poll(erp.id)
    assigned = review.assign(ErpAck.objects.get().id, sent.id, actor=ann, reason="Typo in the name")
    assert assigned.classification == "APPLIED"
    assert state(sent) == ("ACKED", "PUSHED")
    assert places(dropzone)["waiting"] == [name]
    poll(erp.id)
    assert places(dropzone)["processed"] == [name]


def test_a_malformed_answer_is_read_by_a_person(
    dropzone: Dropzone, erp: ErpConnection, sent: ErpExport, ann: User
) -> None:
    write(dropzone, f"ack_{sent.filename}", {"state": "fine"})
    poll(erp.id)
    ack = ErpAck.objects.get()
    with pytest.raises(RuleViolation) as refused:
        review.assign(ack.id, sent.id, actor=ann, reason="?")
    assert refused.value.code == "NO_ANSWER"
    answer = Ack(
        is_accepted=True, erp_order_id="SO-5", error_code=None, message=None, processed_at=None
    )
    review.assign(ack.id, sent.id, actor=ann, reason="Asked the ERP admin", answer=answer)
    sent.refresh_from_db()
    assert (sent.status, sent.erp_order_id) == ("ACKED", "SO-5")


def test_an_answer_is_assigned_within_its_connection_only(
    dropzone: Dropzone, erp: ErpConnection, sent: ErpExport, ann: User
) -> None:
    write(dropzone, "ack_sales_order_typo.json", {"status": "ACKED"})
    poll(erp.id)
    rival = an_org("rival")
    other = a_connection(rival, dropzone.config)
    (theirs,) = some_exports(rival, a_user(rival, "bob"))
    with pytest.raises(RuleViolation) as refused:
        review.assign(ErpAck.objects.get().id, theirs.id, actor=ann, reason="?")
    assert refused.value.code == "NOT_ASSIGNABLE"
    assert other.id == theirs.erp_connection_id

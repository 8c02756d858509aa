"""Acks over real dropzones: each answer counts once, is moved once, and none is ever lost."""

import json
import os
import shutil
from datetime import timedelta
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from django.db.models import F

from accounts.models import Org, User
from connectors import circuit_breaker, lease
from connectors.models import ErpConnection
from connectors.port import Ack
from exports.acks import poller, review
from exports.acks.poller import poll
from exports.delivery.dispatch import wake_due_polls
from exports.delivery.protocol import deliver
from exports.models import ErpAck, ErpExport
from exports.pushing.push import retry_order
from kernel.db import db_now
from kernel.errors import RuleViolation
from orders.models import DraftOrder
from tests.builders import a_connection, a_user, an_org, pause_by_system, some_exports
from tests.dropzones import Dropzone

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.ledger,
    pytest.mark.dropzones("filesystem", "openssh"),
]


def some_sent(
    erp: ErpConnection, org: Org, ann: User, count: int, *, first: int = 0
) -> list[ErpExport]:
    exports = some_exports(org, ann, count, first=first)
    assert deliver(erp.id).sent == count
    return exports


def write(dropzone: Dropzone, name: str, content: Any) -> None:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    (dropzone.acks / name).write_bytes(data)


def accept(dropzone: Dropzone, export: ErpExport, number: str | None = "SO-1") -> None:
    write(dropzone, f"ack_{export.filename}", {"status": "ACKED", "erp_order_id": number})


def refuse(dropzone: Dropzone, export: ErpExport, code: str = "CUSTOMER_UNKNOWN") -> None:
    answer = {"status": "FAILED", "error_code": code, "message": "No such customer"}
    write(dropzone, f"error_{export.filename}", answer)


def places(dropzone: Dropzone) -> dict[str, list[str]]:
    """The files in the ack folder and where they are put away."""
    folders = {"waiting": dropzone.acks} | {
        name: dropzone.acks / name for name in ("processed", "error")
    }
    return {
        name: sorted(p.name for p in folder.iterdir() if p.is_file()) if folder.exists() else []
        for name, folder in folders.items()
    }


def classifications() -> list[str]:
    return sorted(ErpAck.objects.values_list("classification", flat=True))


def state(export: ErpExport) -> tuple[str, str]:
    """The export's and its order's status."""
    export = ErpExport.objects.get(id=export.id)
    return export.status, DraftOrder.objects.get(id=export.draft_order_id).status


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


# Files that are wrong.
@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b'{"status": "ACKED"', "ACK_NOT_JSON"),
        (b"", "ACK_EMPTY"),
        ('{"status": "ACKED", "message": "Käufer"}'.encode("latin-1"), "ACK_ENCODING"),
    ],
)
def test_what_does_not_parse_is_given_time(
    dropzone: Dropzone, erp: ErpConnection, sent: ErpExport, content: bytes, code: str
) -> None:
    name = f"ack_{sent.filename}"
    write(dropzone, name, content)
    poll(erp.id)
    poll(erp.id)
    assert classifications() == ["WAITING"]
    assert places(dropzone)["waiting"] == [name]
    ErpAck.objects.update(seen_at=F("seen_at") - timedelta(minutes=1))
    poll(erp.id)
    assert classifications() == ["MALFORMED"]
    assert ErpAck.objects.get().reason.startswith(code)
    assert places(dropzone)["error"] == [name]
    assert state(sent)[0] == "SENT"


def test_a_slow_writer_ends_up_with_one_answer(
    dropzone: Dropzone, erp: ErpConnection, sent: ErpExport
) -> None:
    whole = json.dumps({"status": "ACKED", "erp_order_id": "SO-9"}).encode()
    for end in range(0, len(whole), 7):
        write(dropzone, f"ack_{sent.filename}", whole[:end])
        ErpAck.objects.update(seen_at=F("seen_at") - timedelta(minutes=1))
        poll(erp.id)
        assert classifications() == ["WAITING"]
    write(dropzone, f"ack_{sent.filename}", whole)
    poll(erp.id)
    assert classifications() == ["APPLIED"]
    assert ErpAck.objects.get().raw == whole.decode()


def test_half_an_answer_is_forgotten_when_it_becomes_one_that_is_known(
    dropzone: Dropzone, erp: ErpConnection, sent: ErpExport
) -> None:
    for content, expected in (
        (b'{"status": "FAILED"}', ["MALFORMED"]),
        (b'{"status"', ["MALFORMED", "WAITING"]),
        (b'{"status": "FAILED"}', ["MALFORMED"]),
    ):
        write(dropzone, f"ack_{sent.filename}", content)
        poll(erp.id)
        assert classifications() == expected


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("ack", b'{"status": "ACKED", "x": NaN}' + b" " * 10, None),
        ("ack", b'{"status": "FAILED"}', "ACK_CONTRADICTION"),
        ("error", b'{"status": "ACKED"}', "ACK_CONTRADICTION"),
        ("ack", b'{"status": "OK"}', "ACK_STATUS"),
        ("ack", b'{"status": "ACKED", "status": "FAILED"}', "ACK_DUPLICATE_KEY"),
        ("ack", b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "ACK_TOO_DEEP"),
        ("ack", b"x" * 1_100_000, "ACK_TOO_BIG"),
        ("ack", b'{"status": "ACKED", "export_filename": "other.json"}', "ACK_MISMATCH"),
        ("ack", b"\x1f\x8b\x08\x00" + b"\x00" * 50, None),
    ],
)
def test_what_cannot_be_understood_is_put_aside(
    dropzone: Dropzone,
    erp: ErpConnection,
    sent: ErpExport,
    name: str,
    content: bytes,
    code: str | None,
) -> None:
    write(dropzone, f"{name}_{sent.filename}", content)
    poll(erp.id)
    if code is None:
        ErpAck.objects.update(seen_at=F("seen_at") - timedelta(minutes=1))
        poll(erp.id)
    assert classifications() == ["MALFORMED"]
    assert code is None or ErpAck.objects.get().reason.startswith(code)
    assert places(dropzone) == {
        "waiting": [],
        "processed": [],
        "error": [f"{name}_{sent.filename}"],
    }
    assert state(sent) == ("SENT", "PUSHED")


def test_texts_that_no_database_takes_still_count(
    dropzone: Dropzone, erp: ErpConnection, sent: ErpExport
) -> None:
    text = r'{"status": "FAILED", "message": "a\u0000b\ud800c", "error_code": "1e999"}'
    write(dropzone, f"error_{sent.filename}", text.encode())
    poll(erp.id)
    assert state(sent)[0] == "FAILED"


def test_one_bad_answer_fails_no_other(
    dropzone: Dropzone, erp: ErpConnection, org: Org, ann: User
) -> None:
    exports = some_sent(erp, org, ann, 5)
    for number, export in enumerate(exports):
        accept(dropzone, export, f"SO-{number}")
    write(dropzone, f"ack_{exports[2].filename}", b'{"status": 1}')
    poll(erp.id)
    assert classifications() == ["APPLIED"] * 4 + ["MALFORMED"]


# Files that are not ours.
def test_foreign_files_are_left_alone(
    dropzone: Dropzone, erp: ErpConnection, sent: ErpExport, request: pytest.FixtureRequest
) -> None:
    acks_folder = dropzone.acks
    strange = [
        "readme.txt",
        "error.log",
        sent.filename,
        f"ack_{sent.filename}.tmp",
        f".ack_{sent.filename}",
        "ack_\u202egnp.json",
        "ack_new\nline.json",
        "a" * 255,
    ]
    for name in strange:
        (acks_folder / name).write_text('{"status": "ACKED"}')
    with open(os.path.join(os.fsencode(acks_folder), b"ack_\xe4.json"), "wb"):
        pass
    (acks_folder / f"error_{sent.filename}").mkdir()
    outside = acks_folder.parent / "outside.json"
    outside.write_text('{"status": "ACKED"}')
    (acks_folder / f"ack_{sent.filename}.json").symlink_to(outside)
    os.mkfifo(acks_folder / f"ack_{sent.filename}")
    before = sorted(os.listdir(os.fsencode(acks_folder)))
    summary = poll(erp.id)
    assert summary.classifications == {}
    assert summary.near_misses == 0
    assert not summary.errors
    assert sorted(os.listdir(os.fsencode(acks_folder))) == before
    assert state(sent)[0] == "SENT"


def test_an_unknown_answer_is_recorded_once_and_stays(
    dropzone: Dropzone, erp: ErpConnection, sent: ErpExport
) -> None:
    name = "ack_sales_order_deadbeef_20260101_000000_cafebabe.json"
    write(dropzone, name, {"status": "ACKED", "erp_order_id": "X"})
    for _ in range(3):
        poll(erp.id)
    (ack,) = ErpAck.objects.all()
    assert (ack.classification, ack.export, ack.erp_order_id) == ("UNMATCHED", None, "X")
    assert places(dropzone)["waiting"] == [name]


def test_the_whole_id_of_another_order_does_not_match(
    dropzone: Dropzone, erp: ErpConnection, sent: ErpExport
) -> None:
    short = str(sent.draft_order_id)[:8]
    forged = sent.filename.replace(short, f"{short}-0000-0000-0000-000000000000", 1)
    write(dropzone, f"ack_{forged}", {"status": "ACKED"})
    poll(erp.id)
    assert state(sent)[0] == "SENT"
    assert classifications() == ["UNMATCHED"]


def test_two_orgs_share_an_account_and_a_folder(
    dropzone: Dropzone, erp: ErpConnection, org: Org, ann: User, sent: ErpExport
) -> None:
    rival = an_org("rival")
    bob = a_user(rival, "bob")
    other = a_connection(rival, dropzone.config)
    (theirs,) = some_sent(other, rival, bob, 1)
    accept(dropzone, sent, "OURS")
    accept(dropzone, theirs, "THEIRS")
    # A forged answer of the rival's ERP changes nothing either: it is under its own export's name.
    summary = poll(erp.id)
    assert (summary.classifications, summary.foreign) == ({"APPLIED": 1}, 1)
    assert not ErpAck.objects.filter(erp_connection=erp, filename=f"ack_{theirs.filename}").exists()
    assert places(dropzone)["waiting"] == [f"ack_{theirs.filename}"]
    poll(other.id)
    assert state(theirs)[0] == "ACKED"
    assert ErpExport.objects.get(id=theirs.id).erp_order_id == "THEIRS"
    assert ErpAck.objects.filter(org=org).count() == ErpAck.objects.filter(org=rival).count() == 1


def test_acks_in_the_export_folder_itself(dropzone: Dropzone, org: Org, ann: User) -> None:
    config = {**dropzone.config, "ack_path": dropzone.config["export_path"]}
    erp = a_connection(org, config)
    (export,) = some_sent(erp, org, ann, 1)
    (dropzone.exports / f"ack_{export.filename}").write_text('{"status": "ACKED"}')
    poll(erp.id)
    assert state(export)[0] == "ACKED"
    assert (dropzone.exports / export.filename).exists()


# Things that go wrong on the way.
def test_where_nothing_can_be_moved_answers_count_once(
    dropzone: Dropzone, erp: ErpConnection, sent: ErpExport
) -> None:
    (dropzone.acks / "processed").write_text("in the way")
    accept(dropzone, sent)
    for _ in range(3):
        assert poll(erp.id).errors == {"ACK_MOVE_FAILED": 1}
    assert state(sent)[0] == "ACKED"
    assert sent.events.filter(kind="ACKED").count() == 1
    erp.refresh_from_db()
    assert erp.ack_error
    assert erp.ack_error["code"] == "ACK_MOVE_FAILED"
    assert not erp.is_paused
    (dropzone.acks / "processed").unlink()
    poll(erp.id)
    assert places(dropzone)["processed"] == [f"ack_{sent.filename}"]
    erp.refresh_from_db()
    assert erp.ack_error is None


def test_a_missing_ack_folder_stops_no_delivery(
    dropzone: Dropzone, erp: ErpConnection, org: Org, ann: User
) -> None:
    dropzone.acks.rmdir()
    assert poll(erp.id).errors == {"DIR_MISSING": 1}
    erp.refresh_from_db()
    assert erp.ack_error
    assert str(dropzone.config["ack_path"]) in erp.ack_error["message"]
    assert erp.last_poll_at is None
    some_sent(erp, org, ann, 1)


def test_an_answer_that_changes_before_it_is_moved_is_read_again(
    dropzone: Dropzone, erp: ErpConnection, sent: ErpExport, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept(dropzone, sent, "SO-1")

    def overwrite(name: str) -> None:
        if name == "ack_committed":
            accept(dropzone, sent, "SO-1000")
            monkeypatch.setattr(poller, "failpoint", lambda name: None)

    monkeypatch.setattr(poller, "failpoint", overwrite)
    poll(erp.id)
    assert places(dropzone)["waiting"] == [f"ack_{sent.filename}"]
    poll(erp.id)
    assert classifications() == ["APPLIED", "CONFLICT"]


def test_an_answer_that_is_taken_away_meanwhile(
    dropzone: Dropzone, erp: ErpConnection, sent: ErpExport, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept(dropzone, sent)
    monkeypatch.setattr(
        poller,
        "failpoint",
        lambda name: name == "ack_read" and (dropzone.acks / f"ack_{sent.filename}").unlink(),
    )
    assert not poll(erp.id).errors
    assert state(sent)[0] == "ACKED"


def test_a_poll_waits_for_its_turn(erp: ErpConnection) -> None:
    held = lease.acquire(erp.id)
    assert held
    assert poll(erp.id).is_busy
    erp.refresh_from_db()
    assert db_now() < erp.poll_due_at < db_now() + timedelta(seconds=10)


@pytest.mark.parametrize(
    ("code", "reads"),
    [
        ("PERMISSION", True),
        ("NO_RENAME", True),
        ("AUTH_FAILED", False),
        ("HOST_KEY_CHANGED", False),
    ],
)
def test_answers_are_read_while_the_connection_is_paused(
    dropzone: Dropzone, erp: ErpConnection, sent: ErpExport, code: str, reads: bool
) -> None:
    pause_by_system(erp, code)
    accept(dropzone, sent)
    poll(erp.id)
    assert state(sent)[0] == ("ACKED" if reads else "SENT")


def test_a_refused_login_during_a_pause_is_not_repeated(
    dropzone: Dropzone, erp: ErpConnection, sent: ErpExport
) -> None:
    """The pause lets acks be read, until a poll meets an error that locks accounts."""
    pause_by_system(erp, "DIR_MISSING")
    erp.refresh_from_db()
    assert circuit_breaker.may_read(erp)
    pause_by_system(erp, "AUTH_FAILED")
    erp.refresh_from_db()
    assert erp.pause_code == "AUTH_FAILED"
    accept(dropzone, sent)
    poll(erp.id)
    assert state(sent)[0] == "SENT"
    # No later error hides it.
    pause_by_system(erp, "PERMISSION")
    erp.refresh_from_db()
    assert erp.pause_code == "AUTH_FAILED"


@pytest.mark.parametrize("is_first", [True, False])
def test_a_persons_pause_does_not_uncover_a_wrong_password(
    dropzone: Dropzone, erp: ErpConnection, sent: ErpExport, ann: User, is_first: bool
) -> None:
    if is_first:
        pause_by_system(erp, "AUTH_FAILED")
        circuit_breaker.pause(erp.id, reason="Holiday", actor=ann)
    else:
        circuit_breaker.pause(erp.id, reason="Holiday", actor=ann)
        pause_by_system(erp, "AUTH_FAILED")
    erp.refresh_from_db()
    assert (erp.pause_code, erp.pause_text, erp.paused_by) == ("AUTH_FAILED", "Holiday", ann)
    accept(dropzone, sent)
    poll(erp.id)
    assert state(sent)[0] == "SENT"
    assert circuit_breaker.run_test(erp).success
    erp.refresh_from_db()
    assert (erp.pause_code, erp.pause_text, erp.paused_by) == ("BY_PERSON", "Holiday", ann)
    poll(erp.id)
    assert state(sent)[0] == "ACKED"


def test_more_answers_than_one_poll_reads(
    dropzone: Dropzone, erp: ErpConnection, org: Org, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    for export in some_sent(erp, org, ann, 12):
        accept(dropzone, export)
    monkeypatch.setattr(poller, "_LISTED_AT_ONCE", 5)
    monkeypatch.setattr(poller, "RUN_SECONDS", 0)
    poll(erp.id)
    erp.refresh_from_db()
    assert erp.last_poll_at is None
    assert erp.poll_due_at <= db_now(), "the rest is read at once"
    monkeypatch.setattr(poller, "RUN_SECONDS", 20)
    monkeypatch.setattr(poller, "BATCH_FILES", 2)
    assert poll(erp.id).classifications == {"APPLIED": 12}


# Pickups and deadlines.
def test_a_file_that_is_gone_was_picked_up(
    dropzone: Dropzone, erp: ErpConnection, org: Org, ann: User
) -> None:
    taken, left = some_sent(erp, org, ann, 2)
    (dropzone.exports / taken.filename).unlink()
    assert poll(erp.id).picked_up == 1
    taken.refresh_from_db()
    left.refresh_from_db()
    assert taken.picked_up_at
    assert left.picked_up_at is None
    assert poll(erp.id).picked_up == 0


def test_many_files_are_looked_for_in_one_listing(
    dropzone: Dropzone,
    erp: ErpConnection,
    org: Org,
    ann: User,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("exports.delivery.pickup._LOOKED_AT", 1)
    taken, *_ = some_sent(erp, org, ann, 4)
    (dropzone.exports / taken.filename).unlink()
    assert poll(erp.id).picked_up == 1


def test_in_another_folder_absence_says_nothing(org: Org, ann: User, dropzone_root: Path) -> None:
    folder = dropzone_root / "out"
    folder.mkdir()
    erp = a_connection(org, {"mode": "filesystem", "export_path": str(folder)})
    (export,) = some_sent(erp, org, ann, 1)
    folder.rename(dropzone_root / "elsewhere")
    poll(erp.id)
    folder.mkdir()
    poll(erp.id)
    export.refresh_from_db()
    assert export.picked_up_at is None


def test_an_answer_that_does_not_come_is_overdue_after_a_poll(
    dropzone: Dropzone, erp: ErpConnection, org: Org, ann: User
) -> None:
    ErpConnection.objects.update(ack_deadline=timedelta(hours=1))
    (export,) = some_sent(erp, org, ann, 1)
    poll(erp.id)

    def is_overdue() -> bool:
        row = ErpExport.objects.select_related("erp_connection").get(id=export.id)
        assert row.is_overdue == ErpExport.objects.filter(ErpExport.OVERDUE).exists()
        return row.is_overdue

    assert not is_overdue()
    ErpExport.objects.update(ack_due_at=db_now() - timedelta(minutes=1))
    ErpConnection.objects.update(last_poll_at=db_now() - timedelta(minutes=2))
    assert not is_overdue(), "perhaps the answer has lain there since"
    poll(erp.id)
    assert is_overdue()
    assert state(export)[0] == "SENT", "it is not sent again by itself"
    accept(dropzone, export)
    poll(erp.id)
    assert not is_overdue()


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


# What polls and deliveries know of each other.
def test_a_missing_export_folder_is_noted_by_a_poll(
    dropzone: Dropzone, erp: ErpConnection, sent: ErpExport
) -> None:
    shutil.rmtree(dropzone.exports)
    assert poll(erp.id).errors == {"DIR_MISSING": 1}
    erp.refresh_from_db()
    assert erp.folder_missing_at


def test_a_poll_does_not_make_failing_deliveries_look_well(
    dropzone: Dropzone, erp: ErpConnection, org: Org, ann: User, sent: ErpExport
) -> None:
    some_exports(org, ann, first=10)
    ErpConnection.objects.update(failures=7, failing_since=db_now())
    poll(erp.id)
    erp.refresh_from_db()
    assert erp.failures == 7
    ErpExport.objects.filter(status="PENDING").update(status="FAILED")
    poll(erp.id)
    erp.refresh_from_db()
    assert erp.failures == 0


def test_what_cannot_be_moved_makes_nothing_less_overdue(
    dropzone: Dropzone, erp: ErpConnection, org: Org, ann: User
) -> None:
    (dropzone.acks / "processed").write_text("in the way")
    answered, silent = some_sent(erp, org, ann, 2)
    accept(dropzone, answered)
    ErpExport.objects.update(ack_due_at=db_now() - timedelta(minutes=1))
    assert poll(erp.id).errors == {"ACK_MOVE_FAILED": 1}
    assert list(ErpExport.objects.filter(ErpExport.OVERDUE)) == [silent]


def test_a_processed_folder_that_leads_elsewhere_stops_no_answer(
    org: Org, ann: User, dropzone_root: Path, tmp_path: Path
) -> None:
    for name in ("exports", "acks"):
        (dropzone_root / name).mkdir()
    config = {"mode": "filesystem", "export_path": str(dropzone_root / "exports")}
    erp = a_connection(org, {**config, "ack_path": str(dropzone_root / "acks")})
    (dropzone_root / "acks" / "processed").symlink_to(tmp_path)
    exports = some_sent(erp, org, ann, 2)
    for export in exports:
        (dropzone_root / "acks" / f"ack_{export.filename}").write_text('{"status": "ACKED"}')
        poll(erp.id)
        assert state(export)[0] == "ACKED"
    assert list(tmp_path.iterdir()) == []


def test_a_defect_in_a_poll_does_not_stay_unseen(
    erp: ErpConnection, sent: ErpExport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exports.delivery.pickup.detect", lambda *args: 1 / 0)
    assert poll(erp.id).errors == {"INTERNAL": 1}
    erp.refresh_from_db()
    assert erp.ack_error
    assert erp.last_poll_at is None


def test_an_enqueued_poll_is_not_enqueued_again(erp: ErpConnection) -> None:
    assert wake_due_polls() == 1
    ErpConnection.objects.update(poll_due_at=db_now() - timedelta(seconds=1))
    assert wake_due_polls() == 0, "one bell is enough"
    poll(erp.id)
    ErpConnection.objects.update(poll_due_at=db_now() - timedelta(seconds=1))
    assert wake_due_polls() == 1


def test_a_touched_stranger_is_read_once(
    dropzone: Dropzone, erp: ErpConnection, sent: ErpExport
) -> None:
    name = "ack_sales_order_typo.json"
    write(dropzone, name, {"status": "ACKED"})
    poll(erp.id)
    os.utime(dropzone.acks / name, (1_000_000, 1_000_000))
    assert poll(erp.id).classifications == {"UNMATCHED": 1}
    assert poll(erp.id).classifications == {}
    assert ErpAck.objects.count() == 1

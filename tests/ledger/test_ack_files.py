"""Ack files that are wrong, of others, or that cannot be read or moved: none is lost."""

import json
import os
from datetime import timedelta

import pytest
from django.db.models import F

from accounts.models import Org, User
from connectors.models import ErpConnection
from exports.acks import poller
from exports.acks.poller import poll
from exports.models import ErpAck, ErpExport
from tests.support.acks import accept, classifications, places, some_sent, state, write
from tests.support.builders import a_connection, a_user, an_org
from tests.support.dropzones import Dropzone

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.ledger,
    pytest.mark.dropzones("filesystem", "openssh"),
]


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

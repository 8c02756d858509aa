"""Acks during crashes, lost connections and races: each is applied once, none is lost."""

import json
import os
import shutil
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from django.db import Error
from django.db import connection as database

from accounts.models import Org, User
from connectors.dropzone.ack_folder import AckFolder
from connectors.dropzone.connector import pool
from connectors.dropzone.session import DropzoneSession
from connectors.errors import CATALOGUE, Kind
from connectors.models import ErpConnection
from exports.acks import poller, unmatched
from exports.acks.poller import PollSummary, poll
from exports.models import ErpAck, ErpExport, ErpExportEvent
from tests.servers.test_cut_connections import held, settled
from tests.support.acks import accept, classifications, places, refuse, some_sent, state, write
from tests.support.builders import a_connection
from tests.support.dropzones import Dropzone, dropzone_of, openssh_config
from tests.support.failing_worker import FailingWorkers
from tests.support.servers import OpenSSHServer, TcpProxy
from tests.support.servers.postgres import kill_backends

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.dropzones("filesystem", "openssh"),
]


@pytest.fixture
def five_sent(erp: ErpConnection, org: Org, ann: User) -> list[ErpExport]:
    return some_sent(erp, org, ann, 5)


@pytest.fixture
def answered(dropzone: Dropzone, five_sent: list[ErpExport]) -> list[ErpExport]:
    """Three accepted, one refused, and one answered by something that is no answer."""
    answer_all(dropzone, five_sent)
    return five_sent


def answer_all(dropzone: Dropzone, five_sent: Sequence[ErpExport]) -> None:
    for number, export in enumerate(five_sent[:-2]):
        accept(dropzone, export, f"SO-{number}")
    refuse(dropzone, five_sent[-2])
    write(dropzone, f"ack_{five_sent[-1].filename}", {"status": "PERHAPS"})


def assert_all_counted_once(dropzone: Dropzone, five_sent: Sequence[ErpExport]) -> None:
    """Each answer of `answer_all` has one row, has had its effect once, and was put away."""
    accepted, refused, malformed = five_sent[:-2], five_sent[-2], five_sent[-1]
    good = [*(f"ack_{e.filename}" for e in accepted), f"error_{refused.filename}"]
    bad = f"ack_{malformed.filename}"
    rows = ErpAck.objects.filter(export__in=five_sent).values_list("filename", "classification")
    assert sorted(rows) == sorted([*((name, "APPLIED") for name in good), (bad, "MALFORMED")])
    there = places(dropzone)
    assert there["waiting"] == []
    assert set(good) <= set(there["processed"])
    assert bad in there["error"]
    events = Counter(
        ErpExportEvent.objects.filter(
            export__in=five_sent, kind__in=["ACKED", "REFUSED"]
        ).values_list("export", "kind")
    )
    assert events == {**{(e.id, "ACKED"): 1 for e in accepted}, (refused.id, "REFUSED"): 1}
    for number, export in enumerate(accepted):
        assert state(export) == ("ACKED", "PUSHED")
        assert ErpExport.objects.get(id=export.id).erp_order_id == f"SO-{number}"
    assert state(refused) == ("FAILED", "ERROR")
    assert state(malformed) == ("SENT", "PUSHED")


def time_passes() -> None:
    """Let the lease of a dead worker expire and failed work be tried again."""
    ErpConnection.objects.update(lease_until=None, retry_at=None)


@contextmanager
def at(step: str, action: Callable[[], object]) -> Iterator[None]:
    """Let something happen at each passage of a step of the poll."""
    with mock.patch.object(
        poller, "failpoint", autospec=True, side_effect=lambda name: name == step and action()
    ):
        yield


@contextmanager
def before(
    operation: str, action: Callable[[], object], *, of: type = DropzoneSession
) -> Iterator[None]:
    """Let something happen right before an operation on the dropzone."""
    original = getattr(of, operation)

    def preceded(*args: Any) -> Any:
        action()
        return original(*args)

    with mock.patch.object(of, operation, autospec=True, side_effect=preceded):
        yield


# Processes that die.
@pytest.mark.parametrize("step", ["ack_read", "ack_committed", "ack_moved"])
def test_sigkill_between_two_steps(
    dropzone: Dropzone,
    erp: ErpConnection,
    answered: list[ErpExport],
    failing_workers: FailingWorkers,
    step: str,
) -> None:
    failing_workers.start(step, erp.id, "poll")
    assert failing_workers.fate() == str(-signal.SIGKILL)
    assert ErpAck.objects.count() == (0 if step == "ack_read" else len(answered))
    assert len(places(dropzone)["waiting"]) == (0 if step == "ack_moved" else len(answered))
    time_passes()
    assert not poll(erp.id).errors
    assert_all_counted_once(dropzone, answered)


# Rivals.
def test_two_pollers_at_once(
    dropzone: Dropzone, erp: ErpConnection, answered: list[ErpExport]
) -> None:
    """Without the lease that keeps them apart, and at every step side by side."""
    barrier = threading.Barrier(2, timeout=10)
    summaries = [PollSummary(), PollSummary()]

    def work(summary: PollSummary) -> None:
        try:
            poller._Poll(erp, lambda: True, summary).run()
        finally:
            database.close()

    with mock.patch.object(poller, "failpoint", side_effect=lambda name: barrier.wait()):
        threads = [threading.Thread(target=work, args=[summary]) for summary in summaries]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert_all_counted_once(dropzone, answered)
    decided = sum((summary.classifications for summary in summaries), Counter())
    assert decided == {"APPLIED": 4, "MALFORMED": 1}
    assert not any(summary.errors for summary in summaries)


@pytest.mark.parametrize("taken_to", ["processed", "elsewhere"])
def test_somebody_else_is_quicker_with_the_move(
    dropzone: Dropzone, erp: ErpConnection, answered: list[ErpExport], taken_to: str
) -> None:
    folder = dropzone.acks / taken_to
    (dropzone.acks / "error").mkdir()
    folder.mkdir()

    def take() -> None:
        for name in places(dropzone)["waiting"]:
            malformed = name == f"ack_{answered[-1].filename}" and taken_to == "processed"
            target = dropzone.acks / "error" if malformed else folder
            (dropzone.acks / name).rename(target / name)

    with before("_rename", take, of=AckFolder):
        assert not poll(erp.id).errors
    for path in folder.iterdir():
        target = "error" if answered[-1].filename in path.name else "processed"
        path.rename(dropzone.acks / target / path.name)
    assert_all_counted_once(dropzone, answered)


def test_an_answer_that_is_gone_before_it_is_read(
    dropzone: Dropzone, erp: ErpConnection, answered: list[ErpExport]
) -> None:
    with before("read_acks", lambda: shutil.rmtree(dropzone.acks)):
        assert not poll(erp.id).errors
    assert not ErpAck.objects.exists()
    dropzone.acks.mkdir()
    answer_all(dropzone, answered)
    poll(erp.id)
    assert_all_counted_once(dropzone, answered)


def test_what_lies_under_the_same_name_already_is_kept(
    dropzone: Dropzone, erp: ErpConnection, answered: list[ErpExport]
) -> None:
    (dropzone.acks / "processed").mkdir()
    there = dropzone.acks / "processed" / f"ack_{answered[0].filename}"
    there.write_text("somebody else's")
    poll(erp.id)
    assert_all_counted_once(dropzone, answered)
    assert there.read_text() == "somebody else's"
    (beside,) = there.parent.glob(f"{there.name}.*")
    assert json.loads(beside.read_bytes())["erp_order_id"] == "SO-0"


def test_a_link_planted_after_the_listing_leads_nowhere(
    dropzone: Dropzone, erp: ErpConnection, five_sent: list[ErpExport]
) -> None:
    """It may lead to any file that this service can read."""
    name = f"ack_{five_sent[0].filename}"
    outside = dropzone.acks.parent / "outside.json"
    outside.write_text('{"status": "ACKED", "message": "outside"}')
    write(dropzone, name, {"status": "ACKED"})

    def plant() -> None:
        (dropzone.acks / name).unlink()
        (dropzone.acks / name).symlink_to(outside)

    with before("read_acks", plant):
        assert poll(erp.id).errors == {"PERMISSION": 1}
    assert not ErpAck.objects.exists()
    assert state(five_sent[0])[0] == "SENT"
    assert outside.exists()


def test_a_link_that_comes_and_goes_is_never_followed(
    org: Org, ann: User, request: pytest.FixtureRequest
) -> None:
    with dropzone_of("filesystem", request) as dropzone:
        erp = a_connection(org, dropzone.config)
        (export,) = some_sent(erp, org, ann, 1)
        answer = dropzone.acks / f"ack_{export.filename}"
        outside, link, file = (dropzone.acks.parent / n for n in ("outside", "link", "file"))
        outside.write_text('{"status": "ACKED", "message": "outside"}')
        is_over = threading.Event()

        def swap() -> None:
            while not is_over.is_set():
                link.symlink_to(outside)
                link.replace(answer)
                file.write_text('{"status": "ACKED", "message":')
                file.replace(answer)

        swapper = threading.Thread(target=swap)
        swapper.start()
        try:
            for _ in range(100):
                poll(erp.id)
        finally:
            is_over.set()
            swapper.join()
        assert classifications() in ([], ["WAITING"])
        assert not ErpAck.objects.filter(raw__contains="outside").exists()


def test_a_slow_writer_is_read_when_it_is_through(
    dropzone: Dropzone, erp: ErpConnection, five_sent: list[ErpExport]
) -> None:
    answer = {"status": "ACKED", "erp_order_id": "SO-1", "message": "Käufer"}
    whole = json.dumps(answer, ensure_ascii=False).encode()
    # One of the cuts is amid the two bytes of the umlaut.
    cuts = sorted({0, *range(whole.index(b"\xa4") % 8, len(whole), 8), len(whole)})
    with (dropzone.acks / f"ack_{five_sent[0].filename}").open("wb", buffering=0) as file:
        for start, end in pairwise(cuts):
            file.write(whole[start:end])
            poll(erp.id)
            assert classifications() == (["WAITING"] if end < len(whole) else ["APPLIED"])
    poll(erp.id)
    assert classifications() == ["APPLIED"]
    assert ErpAck.objects.get().raw == whole.decode()
    assert places(dropzone)["processed"] == [f"ack_{five_sent[0].filename}"]


def test_a_second_try_is_given_time_as_well(
    dropzone: Dropzone, erp: ErpConnection, five_sent: list[ErpExport]
) -> None:
    """A file that begins like one that was never completed is not put aside in the middle."""
    name = f"ack_{five_sent[0].filename}"
    write(dropzone, name, b'{"status":')
    os.utime(dropzone.acks / name, (1_000_000, 1_000_000))
    poll(erp.id)
    ErpAck.objects.update(seen_at="2026-01-01T00:00Z")
    poll(erp.id)
    assert classifications() == ["MALFORMED"]
    write(dropzone, name, b'{"status":')
    poll(erp.id)
    assert places(dropzone)["waiting"] == [name]
    write(dropzone, name, b'{"status": "ACKED"}')
    poll(erp.id)
    assert state(five_sent[0])[0] == "ACKED"


# The database goes away.
@pytest.mark.parametrize("step", ["ack_read", "ack_committed", "ack_moved"])
def test_the_database_is_gone_between_two_steps(
    dropzone: Dropzone,
    erp: ErpConnection,
    answered: list[ErpExport],
    child_env: dict[str, str],
    step: str,
) -> None:
    with at(step, lambda: kill_backends(child_env["DATABASE_URL"])), pytest.raises(Error):
        poll(erp.id)
    database.close()
    assert ErpAck.objects.count() == (0 if step == "ack_read" else len(answered))
    time_passes()
    poll(erp.id)
    assert_all_counted_once(dropzone, answered)


def test_the_answer_to_the_commit_is_lost(
    dropzone: Dropzone,
    erp: ErpConnection,
    answered: list[ErpExport],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    commit = database.commit
    with TcpProxy(database.settings_dict["HOST"], int(database.settings_dict["PORT"])) as proxy:

        def lose_answer() -> None:
            proxy.cut("to_client", after=proxy.bytes_to_client + 1)
            commit()

        database.close()
        monkeypatch.setitem(database.settings_dict, "PORT", proxy.port)
        monkeypatch.setattr(database, "commit", lose_answer)
        with pytest.raises(Error):
            poll(erp.id)
        monkeypatch.undo()
        database.close()
    assert ErpAck.objects.count() == len(answered), "it was committed"
    assert len(places(dropzone)["waiting"]) == len(answered), "but the poller could not know"
    time_passes()
    poll(erp.id)
    assert_all_counted_once(dropzone, answered)


# The dropzone goes away.
@pytest.mark.parametrize(("cuts", "stalls"), [(3, 1), pytest.param(20, 6, marks=pytest.mark.long)])
def test_a_stream_that_breaks_anywhere(
    org: Org, ann: User, request: pytest.FixtureRequest, cuts: int, stalls: int
) -> None:
    """`cuts`, `stalls`: how many in each direction."""
    with (
        dropzone_of("openssh", request) as dropzone,
        TcpProxy(dropzone.config["host"], dropzone.config["port"]) as proxy,
    ):
        config = {**dropzone.config, "port": proxy.port, "operation_timeout": 1}
        erp = a_connection(org, {**config, "connect_timeout": 1})
        idle = held()
        made = 0

        def sent_and_answered() -> list[ErpExport]:
            nonlocal made
            exports = some_sent(erp, org, ann, 3, first=made)
            made += len(exports)
            answer_all(dropzone, exports)
            pool.close_idle()
            return exports

        exports = sent_and_answered()
        began = {"to_client": proxy.bytes_to_client, "to_server": proxy.bytes_to_server}
        poll(erp.id)
        assert_all_counted_once(dropzone, exports)
        lengths = {
            "to_client": proxy.bytes_to_client - began["to_client"],
            "to_server": proxy.bytes_to_server - began["to_server"],
        }
        for direction, length in lengths.items():
            for way, count in (("cut", cuts), ("stall", stalls)):
                for number in range(count):
                    exports = sent_and_answered()
                    after = length * (2 * number + 1) // (2 * count)
                    where = f"{way} {direction} after {after} of {length} bytes"
                    if way == "cut":
                        proxy.cut(direction, after=after, rst=number % 2 == 0)
                    else:
                        proxy.stall(direction, after=after)
                    errors = poll(erp.id).errors
                    assert {CATALOGUE[code].kind for code in errors} <= {Kind.REACH}, where
                    proxy.resume()
                    time_passes()
                    poll(erp.id)
                    assert_all_counted_once(dropzone, exports)
                    assert settled(at_most=idle), f"{where}: {held()} held, {idle} before"


# Nothing can be moved.
@contextmanager
def mounted(*arguments: str, folder: Path) -> Iterator[None]:
    if subprocess.run(["mount", *arguments, str(folder)], check=False).returncode:
        pytest.skip("only root can mount")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def assert_only_the_move_fails(erp: ErpConnection, exports: Sequence[ErpExport]) -> None:
    assert poll(erp.id).classifications == {"APPLIED": 4, "MALFORMED": 1}
    for _ in range(2):
        summary = poll(erp.id)
        assert (summary.classifications, summary.errors) == ({}, {"ACK_MOVE_FAILED": 1})
    assert [state(export)[0] for export in exports] == ["ACKED"] * 3 + ["FAILED", "SENT"]
    erp.refresh_from_db()
    assert erp.ack_error and erp.ack_error["code"] == "ACK_MOVE_FAILED"
    assert not erp.is_paused


@pytest.mark.parametrize("what", ["ack folder", "processed"])
def test_a_folder_on_a_read_only_mount(
    dropzone: Dropzone, erp: ErpConnection, answered: list[ErpExport], what: str
) -> None:
    for name in ("processed", "error"):
        (dropzone.acks / name).mkdir()
    folder = str(dropzone.acks)
    if what == "ack folder":
        with mounted("--bind", folder, folder=dropzone.acks):
            subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
            assert_only_the_move_fails(erp, answered)
    else:
        tmpfs = ("-t", "tmpfs", "-o", "ro,size=64k", "tiny")
        with (
            mounted(*tmpfs, folder=dropzone.acks / "processed"),
            mounted(*tmpfs, folder=dropzone.acks / "error"),
        ):
            assert_only_the_move_fails(erp, answered)
    poll(erp.id)
    assert_all_counted_once(dropzone, answered)
    erp.refresh_from_db()
    assert erp.ack_error is None


def test_a_server_that_lets_nothing_be_changed(org: Org, ann: User, openssh: OpenSSHServer) -> None:
    with OpenSSHServer() as server:
        config = openssh_config(server, ack_path=str(server.root / "acks"))
        dropzone = Dropzone(
            config=config, exports=server.root / "exports", acks=server.root / "acks"
        )
        erp = a_connection(org, config)
        exports = some_sent(erp, org, ann, 5)
        answer_all(dropzone, exports)
        server.restart(sftp_server_args=["-R"])
        assert_only_the_move_fails(erp, exports)
        server.restart(sftp_server_args=[])
        poll(erp.id)
        assert_all_counted_once(dropzone, exports)


def test_what_cannot_be_moved_keeps_no_answer_waiting(
    dropzone: Dropzone,
    erp: ErpConnection,
    five_sent: list[ErpExport],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (dropzone.acks / "processed").write_text("in the way")
    for export in five_sent[:-1]:
        accept(dropzone, export)
        os.utime(dropzone.acks / f"ack_{export.filename}", (1_000_000, 1_000_000))
    assert poll(erp.id).classifications == {"APPLIED": 4}
    accept(dropzone, five_sent[-1])
    # Time for one.
    monkeypatch.setattr(poller, "BATCH_FILES", 1)
    monkeypatch.setattr(poller, "RUN_SECONDS", 1e-6)
    assert poll(erp.id).classifications == {"APPLIED": 1}


# Many files.
def test_foreign_files_keep_no_answer_waiting(
    dropzone: Dropzone, erp: ErpConnection, answered: list[ErpExport]
) -> None:
    for number in range(3000):
        (dropzone.acks / f"stock_{number}.csv").touch()
    # Listing them takes longer than a poll may spend on acks.
    listing = DropzoneSession.list_acks
    now = 0.0

    def slow(session: DropzoneSession) -> Iterator[Any]:
        nonlocal now
        now += poller.RUN_SECONDS + 1
        yield from listing(session)

    with (
        mock.patch.object(DropzoneSession, "list_acks", autospec=True, side_effect=slow),
        mock.patch.object(poller, "time", SimpleNamespace(monotonic=lambda: now)),
    ):
        assert poll(erp.id).foreign == 3000
    foreign = list(dropzone.acks.glob("stock_*.csv"))
    assert len(foreign) == 3000
    for path in foreign:
        path.unlink()
    assert_all_counted_once(dropzone, answered)


def test_unknown_answers_are_recorded_some_at_a_time(
    dropzone: Dropzone, erp: ErpConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unmatched, "RECORDED_AT_ONCE", 7)
    monkeypatch.setattr(poller, "BATCH_BYTES", 3000)
    for number in range(20):
        answer = {"status": "ACKED", "message": "x" * 1000}
        write(dropzone, f"ack_sales_order_{number:08}_20260101_000000_00000000.json", answer)
    sizes = []
    read = DropzoneSession.read_acks

    def noting(session: DropzoneSession, names: Sequence[str]) -> Any:
        sizes.append(len(names))
        return read(session, names)

    with mock.patch.object(DropzoneSession, "read_acks", autospec=True, side_effect=noting):
        recorded = [poll(erp.id).classifications["UNMATCHED"] for _ in range(4)]
    assert recorded == [7, 7, 6, 0]
    assert max(sizes) <= 3
    assert len(places(dropzone)["waiting"]) == 20

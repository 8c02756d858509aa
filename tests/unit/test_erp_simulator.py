"""The simulated ERP: which files it takes and ignores, and every kind of ack it writes."""

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from connectors.dropzone.connector import DropzoneJsonV1Connector, _open_folder
from connectors.port import Document, MalformedAck
from connectors.storage import DjangoObjectStorage
from simulator.erp import ErpSimulator
from simulator.script import (
    ANSWERS,
    Contrary,
    DoubleSuffix,
    Duplicate,
    Empty,
    Error,
    Latin1,
    Malformed,
    Rule,
    Script,
    ScriptError,
    Silence,
    Slow,
    Success,
)
from tests.support.servers.process import free_port, kill_tree, spawn
from tests.support.waiting import until
from tests.unit.test_document import LINE, ORDER, ORG

connector = DropzoneJsonV1Connector(DjangoObjectStorage())


def a_document(number: str = "PO-1", *, customer: str = "4711", sku: str = "INT-1") -> Document:
    order = replace(
        ORDER,
        id=uuid.uuid4(),
        external_order_number=number,
        customer=replace(ORDER.customer, erp_customer_number=customer),
        lines=(LINE, replace(LINE, line_no=2, internal_sku=sku)),
    )
    return connector.render(order, ORG)


@dataclass(frozen=True)
class Dropzone:
    exports: Path
    acks: Path

    def deliver(self, *documents: Document) -> None:
        for document in documents:
            staged = self.exports / f"{document.filename}.1.tmp"
            staged.write_bytes(document.content)
            staged.rename(self.exports / document.filename)

    def erp(self, *rules: Rule, **options: Any) -> ErpSimulator:
        return ErpSimulator(
            exports=self.exports, acks=self.acks, script=Script(rules), interval=0.005, **options
        )

    def answers(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.acks.iterdir()}

    def answer(self, name: str) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads((self.acks / name).read_bytes())
        return answer


@pytest.fixture
def playground(tmp_path: Path) -> Dropzone:
    playground = Dropzone(tmp_path / "exports", tmp_path / "acks")
    playground.exports.mkdir()
    playground.acks.mkdir()
    return playground


def answered(playground: Dropzone, *rules: Rule) -> tuple[str, dict[str, bytes]]:
    """The name of one delivered file, and what an ERP with these rules answers at once."""
    document = a_document()
    playground.deliver(document)
    playground.erp(*rules).round()
    return document.filename, playground.answers()


# Taking.


def test_it_takes_order_files_and_leaves_everything_else_alone(playground: Dropzone) -> None:
    document = a_document()
    playground.deliver(document)
    others = {
        f"{document.filename}.5f2a.tmp",
        "sales_order_1.json.tmp",
        f"ack_{document.filename}",
        f"error_{document.filename}",
        "price_list.json",
    }
    for name in others:
        (playground.exports / name).write_text("{}")
    (playground.exports / "sales_order_link.json").symlink_to("price_list.json")
    (playground.exports / "sales_order_folder.json").mkdir()
    before = {path: path.lstat().st_mtime_ns for path in playground.exports.iterdir()}
    erp = playground.erp()
    erp.round()
    (order,) = erp.orders
    assert order.filename == document.filename
    assert order.sha256 == hashlib.sha256(document.content).hexdigest()
    del before[playground.exports / document.filename]
    assert {path: path.lstat().st_mtime_ns for path in playground.exports.iterdir()} == before


def test_a_staged_file_is_taken_once_it_has_its_name(playground: Dropzone) -> None:
    document = a_document()
    staged = playground.exports / f"{document.filename}.5f2a.tmp"
    staged.write_bytes(document.content)
    erp = playground.erp()
    erp.round()
    assert erp.orders == [] and staged.exists()
    staged.rename(playground.exports / document.filename)
    erp.round()
    assert [order.filename for order in erp.orders] == [document.filename]


def test_a_file_that_somebody_else_takes_is_no_error(
    playground: Dropzone, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = sorted((a_document(), a_document()), key=lambda d: d.filename)
    playground.deliver(first, second)
    rename = Path.rename

    def too_late(path: Path, target: Path) -> Path:
        if path.name == first.filename:
            path.unlink()
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", too_late)
    erp = playground.erp()
    erp.round()
    assert [(order.position, order.filename) for order in erp.orders] == [(1, second.filename)]


def test_a_name_that_comes_twice_is_taken_twice(playground: Dropzone) -> None:
    document = a_document()
    erp = playground.erp()
    for _ in range(2):
        playground.deliver(document)
        erp.round()
    assert [order.filename for order in erp.orders] == [document.filename] * 2


@pytest.mark.parametrize("content", [b"", b"\xff", b"{}", b"[" * 200_000, b'{"a":"\xff"}'])
def test_a_file_that_is_no_order_is_refused(playground: Dropzone, content: bytes) -> None:
    document = Document(filename="sales_order_1_2_3.json", content=content)
    playground.deliver(document)
    playground.erp().round()
    assert playground.answer("error_sales_order_1_2_3.json")["error_code"] == "ERP_VALIDATION"


# Answering.


def test_success(playground: Dropzone) -> None:
    documents = [a_document(), a_document()]
    erp = playground.erp(Success())
    for document in documents:
        playground.deliver(document)
        erp.round()
    numbers = []
    for document in documents:
        answer = playground.answer(f"ack_{document.filename}")
        assert set(answer) == {"status", "erp_order_id", "processed_at"}
        assert answer["status"] == "ACKED"
        assert len(answer["processed_at"]) == len("2025-12-26T10:01:00Z")
        numbers.append(answer["erp_order_id"])
    assert numbers == ["SO-000001", "SO-000002"]


def test_error(playground: Dropzone) -> None:
    name, answers = answered(playground, Error(code="CUSTOMER_UNKNOWN", message="Wer? Müller?"))
    assert set(answers) == {f"error_{name}"}
    answer = playground.answer(f"error_{name}")
    assert answer.pop("processed_at").endswith("Z")
    assert answer == {
        "status": "FAILED",
        "error_code": "CUSTOMER_UNKNOWN",
        "message": "Wer? Müller?",
    }


def test_silence(playground: Dropzone) -> None:
    _, answers = answered(playground, Silence())
    assert answers == {}
    assert list(playground.exports.iterdir()) == []


def test_delay(playground: Dropzone) -> None:
    playground.deliver(a_document())
    erp = playground.erp(Success(delay=0.3))
    erp.round()
    started = time.monotonic()
    assert playground.answers() == {}
    until(lambda: erp.round() or playground.answers())
    assert time.monotonic() - started > 0.25


def test_a_delayed_answer_holds_up_no_other(playground: Dropzone) -> None:
    slow, quick = a_document("SLOW"), a_document("QUICK")
    playground.deliver(slow, quick)
    playground.erp(Success(order="SLOW", delay=60)).round()
    assert set(playground.answers()) == {f"ack_{quick.filename}"}


def test_duplicate(playground: Dropzone) -> None:
    document = a_document()
    draft_id = json.loads(document.content)["draft_order_id"]
    playground.deliver(document)
    erp = playground.erp(Duplicate(spread=0.05))
    erp.round()
    first = playground.answers()
    name, long_name = f"ack_{document.filename}", f"ack_sales_order_{draft_id}"
    assert len(first) == 2 and len(set(first.values())) == 1
    assert sorted(first) == sorted([name, next(n for n in first if n.startswith(long_name))])
    # It comes again even when the first one has been read and put away.
    (playground.acks / name).unlink()
    until(lambda: erp.round() or playground.answers() == first)


def test_contrary(playground: Dropzone) -> None:
    document = a_document()
    playground.deliver(document)
    erp = playground.erp(Contrary(spread=0.05))
    erp.round()
    assert set(playground.answers()) == {f"ack_{document.filename}"}
    until(lambda: erp.round() or len(playground.answers()) == 2)
    assert playground.answer(f"ack_{document.filename}")["status"] == "ACKED"
    assert playground.answer(f"error_{document.filename}")["status"] == "FAILED"


def test_malformed(playground: Dropzone) -> None:
    name, answers = answered(playground, Malformed())
    with pytest.raises(json.JSONDecodeError):
        json.loads(answers[f"ack_{name}"])


def test_a_slow_ack_is_seen_incomplete(playground: Dropzone) -> None:
    with playground.erp(Slow(spread=0.3)):
        document = a_document()
        playground.deliver(document)
        ack = playground.acks / f"ack_{document.filename}"
        sizes: list[int] = []

        def is_complete() -> bool:
            if not ack.exists():
                return False
            content = ack.read_bytes()
            sizes.append(len(content))
            try:
                return bool(json.loads(content))
            except json.JSONDecodeError:
                return False

        until(is_complete)
    assert sizes == sorted(sizes)
    assert len(set(sizes) - {0}) > 3
    assert playground.answer(ack.name)["status"] == "ACKED"


def test_a_slow_ack_grows_on_where_it_was_moved(playground: Dropzone) -> None:
    document = a_document()
    playground.deliver(document)
    with playground.erp(Slow(spread=0.2)):
        ack = playground.acks / f"ack_{document.filename}"
        until(ack.exists)
        moved = ack.rename(playground.acks / "moved")
        until(lambda: moved.read_bytes().endswith(b"}"))
        assert not ack.exists()


def test_latin1(playground: Dropzone) -> None:
    name, answers = answered(playground, Latin1())
    with pytest.raises(UnicodeDecodeError):
        answers[f"ack_{name}"].decode()
    assert json.loads(answers[f"ack_{name}"].decode("latin-1"))["status"] == "ACKED"


def test_double_suffix(playground: Dropzone) -> None:
    name, answers = answered(playground, DoubleSuffix())
    assert set(answers) == {f"ack_{name}.json"}


def test_empty(playground: Dropzone) -> None:
    name, answers = answered(playground, Empty())
    assert answers == {f"ack_{name}": b""}


@pytest.mark.parametrize(
    ("rule", "readings"),
    [
        (Success(), ["accepted"]),
        (Error(code="A", message="B"), ["refused"]),
        (Duplicate(spread=0), ["accepted", "accepted"]),
        (Contrary(spread=0), ["accepted", "refused"]),
        (DoubleSuffix(), ["accepted"]),
        (Malformed(), ["ACK_NOT_JSON"]),
        (Latin1(), ["ACK_ENCODING"]),
        (Empty(), ["ACK_EMPTY"]),
    ],
)
def test_the_service_reads_each_answer_as_it_is_meant(
    playground: Dropzone, rule: Rule, readings: list[str]
) -> None:
    filename, answers = answered(playground, rule)
    found = []
    for name, content in sorted(answers.items()):
        subject = connector.ack_subject(name)
        assert subject and subject.export_filename == filename
        ack = connector.read_ack(name, content)
        if isinstance(ack, MalformedAck):
            found.append(ack.code)
        else:
            found.append("accepted" if ack.is_accepted else "refused")
    assert found == readings


def test_an_ack_appears_whole(playground: Dropzone) -> None:
    """It is another file by a rename: whoever reads what had the name before is not disturbed."""
    document = a_document()
    playground.deliver(document)
    ack = playground.acks / f"ack_{document.filename}"
    ack.write_bytes(b"before")
    with ack.open("rb") as reader:
        playground.erp().round()
        assert reader.read() == b"before"
    assert set(playground.answers()) == {ack.name}
    assert playground.answer(ack.name)["status"] == "ACKED"


# The script.


@pytest.mark.parametrize(
    ("rule", "fits"),
    [
        (Silence(), True),
        (Silence(customer="4711"), True),
        (Silence(customer="47*"), True),
        (Silence(customer="47"), False),
        (Silence(order="PO-?"), True),
        (Silence(order="po-?"), False),
        (Silence(sku="INT-1"), True),
        (Silence(sku="INT-2"), False),
        (Silence(customer="4711", sku="INT-2"), False),
    ],
)
def test_a_rule_is_for_the_orders_that_fit_all_its_conditions(
    playground: Dropzone, rule: Rule, fits: bool
) -> None:
    _, answers = answered(playground, rule)
    assert bool(answers) is not fits


def test_the_first_rule_that_fits_decides(playground: Dropzone) -> None:
    name, answers = answered(playground, Silence(customer="1"), Empty(), Success())
    assert answers == {f"ack_{name}": b""}


def test_every_third(playground: Dropzone) -> None:
    silent = []
    for number in range(1, 8):
        before = len(playground.answers())
        playground.deliver(a_document())
        # Each time a new one: the count outlives the ERP.
        playground.erp(Silence(every=3)).round()
        if len(playground.answers()) == before:
            silent.append(number)
    assert silent == [3, 6]


def test_a_script_is_read_from_toml(playground: Dropzone) -> None:
    script = Script.parse(
        """
        [[rule]]
        customer = "40001"
        answer = "error"
        code = "CUSTOMER_UNKNOWN"
        message = "Who?"

        [[rule]]
        every = 5
        answer = "contrary"
        delay = 1
        spread = 0.5
        """
    )
    assert script.rules == (
        Error(customer="40001", code="CUSTOMER_UNKNOWN", message="Who?"),
        Contrary(every=5, delay=1, spread=0.5),
    )


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[[rule]", "line 1"),
        ("rules = 1", "[[rule]]"),
        ("rule = 3", "[[rule]]"),
        ("[rule]\nanswer = 'success'", "[[rule]]"),
        ("rule = [3]", "rule 1: answer"),
        ("[[rule]]\ncustomer = '1'", "rule 1: answer must be one of success, error"),
        ("[[rule]]\nanswer = ['success']", "rule 1: answer"),
        ("[[rule]]\nanswer = 'succes'", "rule 1: answer"),
        ("[[rule]]\nanswer = 'empty'\n[[rule]]\nanswer = 'error'\nmessage = ''", "rule 2: .*code"),
        ("[[rule]]\nanswer = 'success'\ncode = 'A'", "rule 1: .*code"),
        ("[[rule]]\nanswer = 'success'\ncustomer = 4711", "rule 1: .*customer"),
        ("[[rule]]\nanswer = 'success'\nevery = 0", "rule 1: .*every"),
        ("[[rule]]\nanswer = 'success'\ndelay = -1", "rule 1: .*delay"),
        ("[[rule]]\nanswer = 'success'\nspread = 1", "rule 1: .*spread"),
    ],
)
def test_a_wrong_script_says_which_rule(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "script.toml"
    path.write_text(text)
    with pytest.raises(ScriptError, match=complaint.replace("[[", r"\[\[")) as raised:
        Script.load(path)
    assert str(raised.value).startswith(f"{path}: ")


def test_the_default_script_shows_every_answer(playground: Dropzone) -> None:
    rules = Script.load().rules
    assert {type(rule) for rule in rules} == set(ANSWERS.values())
    unknown, ordinary = a_document(customer="UNKNOWN-1"), a_document(customer="4711")
    playground.deliver(unknown, ordinary)
    ErpSimulator(exports=playground.exports, acks=playground.acks).round()
    assert playground.answer(f"error_{unknown.filename}")["error_code"] == "CUSTOMER_UNKNOWN"
    assert playground.answer(f"ack_{ordinary.filename}")["status"] == "ACKED"


# Starting again.


def test_an_erp_that_starts_again_counts_on_and_answers_nothing_twice(playground: Dropzone) -> None:
    first, second = a_document(), a_document()
    playground.deliver(first)
    playground.erp().round()
    (playground.acks / f"ack_{first.filename}").unlink()
    playground.deliver(second)
    again = playground.erp()
    again.round()
    assert [order.filename for order in again.orders] == [first.filename, second.filename]
    assert set(playground.answers()) == {f"ack_{second.filename}"}
    assert playground.answer(f"ack_{second.filename}")["erp_order_id"] == "SO-000002"


def test_an_answer_that_was_not_complete_is_given_anew(playground: Dropzone) -> None:
    documents = [a_document(str(n)) for n in range(2)]
    with playground.erp(Slow(order="0", spread=60), Success(delay=60)) as erp:
        playground.deliver(*documents)
        until(lambda: len(erp.orders) == 2 and len(playground.answers()) == 1)
    numbers = {order.filename: order.erp_order_id for order in erp.orders}
    playground.erp().round()
    for document in documents:
        answer = playground.answer(f"ack_{document.filename}")
        assert answer["erp_order_id"] == numbers[document.filename]


def test_what_goes_wrong_in_the_thread_is_raised_at_the_end(playground: Dropzone) -> None:
    erp = playground.erp()
    playground.exports.rmdir()
    with pytest.raises(FileNotFoundError, match="exports"), erp:
        until(erp._work.done)


def test_an_idle_erp_costs_next_to_nothing(playground: Dropzone) -> None:
    with ErpSimulator(exports=playground.exports, acks=playground.acks):
        before = time.process_time()
        # What is measured is this time.
        time.sleep(0.5)
        assert time.process_time() - before < 0.05


# The command.


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    manage = settings.BASE_DIR / "manage.py"
    return [sys.executable, str(manage), "erp_simulator", "--folder", str(tmp_path / "erp")]


@pytest.fixture
def env() -> dict[str, str]:
    return {**os.environ, "DJANGO_SETTINGS_MODULE": "orderflow.settings", "PYTHONUNBUFFERED": "1"}


def refused(command: list[str], env: dict[str, str]) -> str:
    """What a command that cannot start says."""
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr


def test_over_sftp_with_a_real_client(
    tmp_path: Path, command: list[str], env: dict[str, str]
) -> None:
    port = free_port()
    log = tmp_path / "log"
    script = tmp_path / "script.toml"
    script.write_text("[[rule]]\nanswer = 'error'\ncode = 'CLOSED'\nmessage = 'Inventory.'\n")
    options = ["--sftp", "--port", str(port), "--script", str(script)]
    simulator = spawn([*command, *options], log=log, ready="waiting for orders", env=env)
    try:
        saved = tmp_path / "erp/connection.json"
        assert saved.stat().st_mode & 0o777 == 0o600
        config = connector.parse_config(json.loads(saved.read_text()))
        assert config.port == port
        assert connector.test(config).success
        exported = connector.export(ORDER, ORG, json.loads(saved.read_text()))
        assert exported.success, exported.error_message
        name = exported.connector_metadata.filename
        ack = f"/acks/error_{name}"
        with _open_folder(config) as folder:
            until(lambda: folder.lstat([ack]) != [None])
            assert folder.lstat([f"/exports/{name}"]) == [None]
            (answer,) = folder.read([ack], limit=1000)
        assert isinstance(answer, bytes)
        assert json.loads(answer)["error_code"] == "CLOSED"
        # With a client still connected.
        with connector.open(config):
            simulator.send_signal(signal.SIGTERM)
            assert simulator.wait(20) == 0
    finally:
        kill_tree(simulator)
    lines = log.read_text()
    assert f"took {name}: order {ORDER.external_order_number} of customer 4711" in lines
    assert f"wrote error_{name}" in lines
    assert lines.endswith("stopped\n")
    assert "Traceback" not in lines


def test_in_a_folder(tmp_path: Path, command: list[str], env: dict[str, str]) -> None:
    log = tmp_path / "log"
    simulator = spawn(command, log=log, ready="waiting for orders", env=env)
    try:
        config = json.loads((tmp_path / "erp/connection.json").read_text())
        playground = Dropzone(Path(config["export_path"]), Path(config["ack_path"]))
        document = a_document()
        playground.deliver(document)
        until((playground.acks / f"ack_{document.filename}").exists)
        assert "is in use" in refused(command, env)
        simulator.send_signal(signal.SIGINT)
        assert simulator.wait(20) == 0
    finally:
        kill_tree(simulator)
    # It does not lie below DROPZONE_ROOTS.
    assert "would not accept it with its present settings: export_path" in log.read_text()


@pytest.mark.parametrize(
    ("options", "changes", "complaint"),
    [
        (["--port", "1234"], {}, "--sftp"),
        (["--script", "/missing.toml"], {}, "/missing.toml: No such file"),
        ([], {"DEBUG": "false"}, "development"),
    ],
)
def test_what_it_cannot_do_it_says(
    tmp_path: Path,
    command: list[str],
    env: dict[str, str],
    options: list[str],
    changes: dict[str, str],
    complaint: str,
) -> None:
    assert complaint in refused([*command, *options], {**env, **changes})
    assert not (tmp_path / "erp").exists()


def test_a_port_that_is_taken(command: list[str], env: dict[str, str]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert "did not start" in refused([*command, "--sftp", "--port", str(port)], env)

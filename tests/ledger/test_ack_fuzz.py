"""Random files in the ack folder: no ack is lost, and each order gets one result.

Files come under every name that answers an export, good, mutated and arbitrary, once and again.
"""

import hashlib
import json
import os
import re
from collections import Counter, defaultdict
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from django.db.models import F
from hypothesis import given, note, settings
from hypothesis import strategies as st

from exports.acks.poller import poll
from exports.models import ErpAck, ErpExport
from tests.support.acks import some_sent
from tests.support.builders import a_connection, a_user, an_org
from tests.support.dropzones import Dropzone, dropzone_of

pytestmark = [pytest.mark.django_db, pytest.mark.ledger]

EXPORTS = 2
FOLDERS = {"APPLIED": "processed", "DUPLICATE": "processed", "CONFLICT": "processed"} | {
    "WAITING": ".",
    "MALFORMED": "error",
}
# In the place of these each export has its own.
FILENAME, ORDER_ID = "an-export", "an-order"

answers = st.fixed_dictionaries(
    {"status": st.sampled_from(["ACKED", "acked ", "FAILED"])},
    optional={
        "erp_order_id": st.sampled_from(["SO-1", "SO-2", 4711, None, "\0", "x" * 300]),
        "message": st.text(st.sampled_from("aZ9 \n\x1f\0\ud800ü😀"), max_size=5),
        "processed_at": st.sampled_from(["2026-01-01T00:00Z", "0001-01-01T00:00+14:00", "?", 1]),
        "export_filename": st.sampled_from([FILENAME, "another.json"]),
        "draft_order_id": st.sampled_from([ORDER_ID, str(uuid4())]),
        "x": st.sampled_from([[[[]]], 1e308, {"status": "FAILED"}, None]),
    },
)
encodings = st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "latin-1"])


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    text = json.dumps(draw(answers), ensure_ascii=draw(st.booleans()))
    content = bytearray(text.encode(draw(encodings), "replace"))
    for _ in range(draw(st.integers(0, 2))):
        start = draw(st.integers(0, len(content)))
        end = draw(st.integers(start, len(content)))
        content[start:end] = draw(
            st.sampled_from(
                [b"", b'"', b"\\", b"[" * 40, b"}", b"\0", b"\xff", b"9" * 5000, b"NaN"]
            )
            | st.binary(max_size=3)
        )
    return bytes(content)


@st.composite
def files(draw: st.DrawFn) -> tuple[int, str, bytes]:
    """The number of an export, the name of a file that answers it, and its content."""
    kind, status = draw(st.sampled_from([("ack", "ACKED"), ("error", "FAILED")]))
    good = answers.map(lambda answer: json.dumps({**answer, "status": status}).encode())
    return (
        draw(st.integers(0, EXPORTS - 1)),
        f"{kind}_{FILENAME}{draw(st.sampled_from(['', '.json']))}",
        draw(good | mutated() | st.binary(max_size=50)),
    )


class Erp:
    """Writes files, and remembers all that a poll may have found."""

    def __init__(self, dropzone: Dropzone, exports: list[ErpExport]) -> None:
        self._folder = dropzone.acks
        self._exports = exports
        self._moment = 1_000_000
        self.written: dict[str, list[bytes]] = defaultdict(list)

    def write(self, number: int, name: str, content: bytes) -> None:
        export = self._exports[number]
        name = name.replace(FILENAME, export.filename)
        content = content.replace(FILENAME.encode(), export.filename.encode())
        content = content.replace(ORDER_ID.encode(), str(export.draft_order_id).encode())
        note(f"{name}: {content!r}")
        path = self._folder / name
        if path.exists():
            self.written[name].pop()
        self.written[name].append(content)
        path.write_bytes(content)
        # A second apart, as servers tell times.
        self._moment += 1
        os.utime(path, (self._moment, self._moment))

    def found(self) -> dict[str, list[tuple[str, bytes]]]:
        """All files, with the folders they lie in, by the names under which they were written."""
        there = defaultdict(list)
        for folder in {self._folder / name for name in FOLDERS.values()}:
            for path in folder.iterdir() if folder.exists() else ():
                if path.is_file():
                    name = re.sub(r"\.[0-9a-f]{8}$", "", path.name)
                    there[name].append((folder.name, path.read_bytes()))
        return there


def check(erp: Erp, exports: list[ErpExport]) -> None:
    there = erp.found()
    assert there.keys() == erp.written.keys()
    for name, contents in erp.written.items():
        assert Counter(contents) == Counter(content for _, content in there[name]), name
        for content in set(contents):
            row = ErpAck.objects.get(filename=name, sha256=hashlib.sha256(content).hexdigest())
            folders = [folder for folder, other in there[name] if other == content]
            # Of files that are alike the row is about the last.
            assert Path("acks", FOLDERS[row.classification]).name in folders, row.classification
    for export in ErpExport.objects.filter(id__in=[e.id for e in exports]):
        rows = export.acks.filter(classification="APPLIED")
        applied = list(rows.values_list("is_accepted", flat=True))
        assert applied == {"ACKED": [True], "FAILED": [False], "SENT": []}[export.status]
        is_answered = export.acks.exclude(is_accepted=None).exists()
        assert is_answered == (export.status != "SENT"), "an answer had no effect"


@pytest.mark.parametrize("examples", [12, pytest.param(200, marks=pytest.mark.long)])
def test_nothing_is_lost_whatever_is_written(request: pytest.FixtureRequest, examples: int) -> None:
    rounds = st.lists(st.lists(files(), min_size=1, max_size=4), min_size=1, max_size=3)
    settings(max_examples=examples)(given(st.just(request), rounds)(write_and_poll))()


def write_and_poll(
    request: pytest.FixtureRequest, rounds: list[list[tuple[int, str, bytes]]]
) -> None:
    with dropzone_of("filesystem", request) as dropzone:
        org = an_org(f"org-{uuid4()}")
        connection = a_connection(org, dropzone.config)
        exports = some_sent(connection, org, a_user(org, str(uuid4())), EXPORTS)
        erp = Erp(dropzone, exports)
        for written in [*rounds, [], []]:
            for file in written:
                erp.write(*file)
            assert not poll(connection.id).errors
            check(erp, exports)
            ErpAck.objects.update(seen_at=F("seen_at") - timedelta(minutes=1))
        assert not connection.acks.filter(classification="WAITING", export__in=exports).exists()

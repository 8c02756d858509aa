"""Acks through crashes, lost connections, rivals and races: each counts once, none is lost."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pytest
from django.db import connection as database

from accounts.models import Org, User
from connectors.dropzone.session import DropzoneSession
from connectors.models import ErpConnection
from exports import acks
from exports.acks import Summary, poll
from exports.models import ErpAck, ErpExport, ErpExportEvent
from tests.builders import a_connection, a_user, an_org
from tests.dropzones import Dropzone, dropzone_of
from tests.test_acks import accept, places, refuse, some_sent, state, write

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def org() -> Org:
    return an_org()


@pytest.fixture
def ann(org: Org) -> User:
    return a_user(org)


@pytest.fixture(params=["filesystem", "openssh"])
def dropzone(request: pytest.FixtureRequest) -> Iterator[Dropzone]:
    with dropzone_of(request.param, request) as dropzone:
        yield dropzone


@pytest.fixture
def erp(org: Org, dropzone: Dropzone) -> ErpConnection:
    return a_connection(org, dropzone.config)


@pytest.fixture
def sent(erp: ErpConnection, org: Org, ann: User) -> list[ErpExport]:
    return some_sent(erp, org, ann, 5)


@pytest.fixture
def answered(dropzone: Dropzone, sent: list[ErpExport]) -> list[ErpExport]:
    """Three accepted, one refused, and one answered by something that is no answer."""
    answer_all(dropzone, sent)
    return sent


def answer_all(dropzone: Dropzone, sent: Sequence[ErpExport]) -> None:
    for number, export in enumerate(sent[:-2]):
        accept(dropzone, export, f"SO-{number}")
    refuse(dropzone, sent[-2])
    write(dropzone, f"ack_{sent[-1].filename}", {"status": "PERHAPS"})


def assert_all_counted_once(dropzone: Dropzone, sent: Sequence[ErpExport]) -> None:
    """Each answer of `answer_all` has one row, has had its effect once, and was put away."""
    accepted, refused, malformed = sent[:-2], sent[-2], sent[-1]
    good = [*(f"ack_{e.filename}" for e in accepted), f"error_{refused.filename}"]
    bad = f"ack_{malformed.filename}"
    rows = ErpAck.objects.filter(export__in=sent).values_list("filename", "verdict")
    assert sorted(rows) == sorted([*((name, "APPLIED") for name in good), (bad, "MALFORMED")])
    there = places(dropzone)
    assert there["waiting"] == []
    assert set(good) <= set(there["processed"])
    assert bad in there["error"]
    events = Counter(
        ErpExportEvent.objects.filter(export__in=sent, kind__in=["ACKED", "REFUSED"]).values_list(
            "export", "kind"
        )
    )
    assert events == {**{(e.id, "ACKED"): 1 for e in accepted}, (refused.id, "REFUSED"): 1}
    for number, export in enumerate(accepted):
        assert state(export) == ("ACKED", "PUSHED")
        assert ErpExport.objects.get(id=export.id).erp_order_id == f"SO-{number}"
    assert state(refused) == ("FAILED", "ERROR")
    assert state(malformed) == ("SENT", "PUSHED")


@contextmanager
def before(operation: str, action: Callable[[], object]) -> Iterator[None]:
    """Let something happen right before an operation on the dropzone."""
    original = getattr(DropzoneSession, operation)

    def preceded(*args: Any) -> Any:
        action()
        return original(*args)

    with mock.patch.object(DropzoneSession, operation, autospec=True, side_effect=preceded):
        yield


# Rivals.
def test_two_pollers_at_once(
    dropzone: Dropzone, erp: ErpConnection, answered: list[ErpExport]
) -> None:
    """Without the lease that keeps them apart, and at every step side by side."""
    barrier = threading.Barrier(2, timeout=10)
    summaries = [Summary(), Summary()]

    def work(summary: Summary) -> None:
        try:
            acks._Poll(erp, lambda: True, summary).run()
        finally:
            database.close()

    with mock.patch.object(acks, "failpoint", side_effect=lambda name: barrier.wait()):
        threads = [threading.Thread(target=work, args=[summary]) for summary in summaries]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert_all_counted_once(dropzone, answered)
    decided = sum((summary.verdicts for summary in summaries), Counter())
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

    with before("_put_away", take):
        assert not poll(erp.id).errors
    for path in folder.iterdir():
        target = "error" if answered[-1].filename in path.name else "processed"
        path.rename(dropzone.acks / target / path.name)
    assert_all_counted_once(dropzone, answered)

"""Connection tests are done by a worker, once each, and never hold up deliveries."""

from pathlib import Path

import pytest
from django_q.models import OrmQ

from accounts.models import Org, User
from connectors import lease
from connectors.models import ConnectionTest, ErpConnection
from connectors.port import ReportStep
from exports import connection_tests
from exports.connection_tests import request_test, run, wake_waiting
from tests.support.builders import a_connection

pytestmark = [pytest.mark.django_db, pytest.mark.ledger]


@pytest.fixture
def untested(org: Org, dropzone_root: Path) -> ErpConnection:
    config = {"mode": "filesystem", "export_path": str(dropzone_root)}
    return a_connection(org, config, paused=True)


def test_a_test_is_done_and_lifts_the_pause(untested: ErpConnection, ann: User) -> None:
    test = request_test(untested, actor=ann)
    run(test.id)
    test.refresh_from_db()
    assert test.success
    assert test.started_at
    assert test.finished_at
    assert [step["name"] for step in test.steps][:3] == ["open", "export folder", "write and sync"]
    untested.refresh_from_db()
    assert not untested.is_paused
    assert untested.degraded_since is None
    assert untested.lease_until is None


def test_the_steps_can_be_followed(
    untested: ErpConnection, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = request_test(untested, actor=ann)
    seen = []

    def as_json(step: ReportStep) -> dict[str, object]:
        seen.append(len(ConnectionTest.objects.get(id=test.id).steps))
        return {"name": step.name, "outcome": step.outcome, "milliseconds": 0, "note": ""}

    monkeypatch.setattr(ReportStep, "as_json", as_json)
    run(test.id)
    assert seen == list(range(len(seen)))


def test_asking_twice_makes_one_test(untested: ErpConnection, ann: User) -> None:
    assert request_test(untested, actor=ann) == request_test(untested, actor=ann)


def test_a_doubled_task_does_nothing(untested: ErpConnection, ann: User) -> None:
    test = request_test(untested, actor=ann)
    run(test.id)
    first = ConnectionTest.objects.get(id=test.id).finished_at
    run(test.id)
    assert ConnectionTest.objects.get(id=test.id).finished_at == first


def test_a_test_waits_while_the_connection_is_served(untested: ErpConnection, ann: User) -> None:
    test = request_test(untested, actor=ann)
    held = lease.acquire(untested.id)
    assert held
    run(test.id)
    test.refresh_from_db()
    assert test.started_at is None
    held.release()
    ConnectionTest.objects.update(enqueued_at=None)
    OrmQ.objects.all().delete()
    assert wake_waiting() == 1
    assert wake_waiting() == 0, "one bell is enough for a while"
    run(test.id)
    test.refresh_from_db()
    assert test.success


def test_an_untested_connection_is_tested_as_a_degraded_one(
    untested: ErpConnection, ann: User
) -> None:
    request_test(untested, actor=ann)
    untested.refresh_from_db()
    assert untested.degraded_since


def test_a_test_that_breaks_off_has_failed(
    untested: ErpConnection, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def time_out(*args: object, **kwargs: object) -> None:
        raise SystemExit

    monkeypatch.setattr(connection_tests.circuit_breaker, "run_test", time_out)
    test = request_test(untested, actor=ann)
    with pytest.raises(SystemExit):
        run(test.id)
    test.refresh_from_db()
    assert test.finished_at
    assert test.success is False
    untested.refresh_from_db()
    assert untested.lease_until is None

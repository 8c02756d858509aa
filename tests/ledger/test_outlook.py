"""Why an export waits and what happens next: the same text in every interface."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import pytest
from django.db import connection as database
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import Org, User
from connectors.errors import ConnectorError
from connectors.models import BY_PERSON, DeliveryInstance, ErpConnection
from exports.delivery import heartbeat
from exports.models import ErpExport
from exports.reporting.outlook import Circumstances, Code, Outlook, outlook
from kernel.db import db_now
from tests.support.admins import logged_in, page_url, text
from tests.support.api import EXPORTS, client
from tests.support.builders import a_connection, some_exports

CONFIG = {
    "mode": "sftp",
    "host": "erp.example",
    "username": "u",
    "password": "p",
    "export_path": "/out",
    "host_keys": [],
}
HOUR = timedelta(hours=1)
NOW = datetime(2025, 12, 1, 8, tzinfo=UTC)
ERROR = ConnectorError("CONNECT_REFUSED").as_json()
REFUSAL = {"code": "ERP_REFUSED", "erp_code": "E17", "message": "The ERP refused it: E17."}
SENT = {"status": "SENT", "sent_at": -HOUR, "sent_evidence": "OBSERVED"}
OVERDUE = {**SENT, "ack_due_at": -HOUR}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A state of an export and of what is around it; a duration is a time from now."""

    code: Code
    text: str
    label: str
    export: dict[str, Any] = field(default_factory=dict)
    connection: dict[str, Any] = field(default_factory=dict)
    reads_acks: bool = True
    has_worker: bool = True
    is_elsewhere: bool = False
    until: timedelta | None = None


def _cases() -> list[Case]:
    """The first of several reasons counts, so each case but the last of a status has the later."""
    paused = {"paused_at": -HOUR, "pause_code": "NEVER_TESTED"}
    failing = {"failures": 1, "retry_at": HOUR, "last_error": ERROR}
    elsewhere = {"is_elsewhere": True, "has_worker": False}
    later = {"next_attempt_at": 2 * HOUR}
    return [
        Case(
            code=Code.NEEDS_DECISION,
            text="It is not known whether the file arrived. Ask the ERP team, then resolve it "
            "manually.",
            label="arrival unknown",
            export={"next_attempt_at": None, "attempts": 1},
            connection={**failing, **paused},
        ),
        Case(
            code=Code.CONNECTION_PAUSED,
            text="Waiting: the connection is paused. Reason: The connection was not tested since "
            "it was set up or changed.",
            label="connection paused",
            connection={**failing, **paused},
            **elsewhere,
        ),
        Case(
            code=Code.CONNECTION_PAUSED,
            text=f"Waiting: the connection is paused. Reason: "
            f"{ConnectorError('HOST_KEY_CHANGED').message}",
            label="connection paused",
            connection={**paused, "pause_code": "HOST_KEY_CHANGED"},
        ),
        Case(
            code=Code.CONNECTION_FAILING,
            text=f"Waiting: the connection fails. {ERROR['message']}",
            label="connection fails",
            export=later,
            connection=failing,
            until=HOUR,
            **elsewhere,
        ),
        Case(
            code=Code.OTHER_INSTALLATION,
            text="Waiting: nothing is delivered from this database.",
            label="not delivered from here",
            export=later,
            **elsewhere,
        ),
        Case(
            code=Code.NO_WORKER,
            text="Waiting: no worker is running. Ask an operator to start manage.py worker.",
            label="no worker",
            export=later,
            has_worker=False,
        ),
        Case(
            code=Code.RETRY_LATER,
            text="Waiting for the next try.",
            label="next try later",
            export=later,
            until=2 * HOUR,
        ),
        Case(
            code=Code.DUE,
            text="A worker sends it now.",
            label="due now",
            export={"next_attempt_at": -HOUR},
            connection={"failures": 1, "retry_at": -HOUR},
        ),
        Case(
            code=Code.ACK_OVERDUE,
            text="The ack is overdue, and the file was not picked up as far as is known. Ask the "
            "ERP team whether the import is running. Nothing is sent again by itself.",
            label="",
            export=OVERDUE,
            connection={"last_poll_at": timedelta()},
            reads_acks=False,
            until=-HOUR,
        ),
        Case(
            code=Code.ACK_OVERDUE,
            text="The ERP picked the file up, but the ack is overdue. Ask the ERP team what became "
            "of the order. Nothing is sent again by itself.",
            label="",
            export={**OVERDUE, "picked_up_at": -HOUR},
            connection={"last_poll_at": timedelta()},
            until=-HOUR,
        ),
        Case(
            code=Code.NO_ACK_EXPECTED,
            text="The file was sent. The connection has no ack folder, so no ack is expected.",
            label="no ack expected",
            export=SENT,
            reads_acks=False,
        ),
        Case(
            code=Code.AWAITING_ACK,
            text="The file was sent. The ERP has not acknowledged it yet.",
            label="waiting for the ack",
            export=OVERDUE,
            until=-HOUR,
        ),
        Case(
            code=Code.AWAITING_ACK,
            text="The ERP picked the file up. The ERP has not acknowledged it yet.",
            label="waiting for the ack",
            export={**SENT, "picked_up_at": -HOUR},
        ),
        Case(
            code=Code.ACKNOWLEDGED,
            text="In the ERP as SO-1.",
            label="",
            export={**SENT, "status": "ACKED", "acked_at": -HOUR, "erp_order_id": "SO-1"},
        ),
        Case(
            code=Code.FAILED,
            text="Not in the ERP: The ERP refused it: E17.",
            label="ERP_REFUSED E17",
            export={**SENT, "status": "FAILED", "acked_at": -HOUR, "error_json": REFUSAL},
        ),
    ]


CASES = _cases()
each_case = pytest.mark.parametrize(
    "case", [pytest.param(case, id=f"{n}-{case.code}") for n, case in enumerate(CASES)]
)


def at(fields: dict[str, Any], now: datetime) -> dict[str, Any]:
    return {k: now + v if isinstance(v, timedelta) else v for k, v in fields.items()}


class Known(Circumstances):
    """The circumstances of a case, without a database."""

    def __init__(self, case: Case, connection: ErpConnection) -> None:
        has_worker = None if case.is_elsewhere else case.has_worker
        vars(self).update(now=NOW, _has_worker_here=has_worker)
        self._reads_acks = {connection.id: case.reads_acks}


def test_the_cases_have_every_code() -> None:
    assert {case.code for case in CASES} == set(Code)


@each_case
def test_the_first_reason_counts(case: Case) -> None:
    working = {"paused_at": None, "pause_code": ""}
    connection = ErpConnection(**at({**working, **case.connection}, NOW))
    due = {"next_attempt_at": timedelta()}
    export = ErpExport(erp_connection=connection, **at({**due, **case.export}, NOW))
    until = case.until and NOW + case.until
    expected = Outlook(code=case.code, text=case.text, until=until)
    assert outlook(export, Known(case, connection)) == expected


def test_a_pause_by_a_person_names_the_person() -> None:
    ann = User(username="ann")
    connection = ErpConnection(
        paused_at=NOW, pause_code=BY_PERSON, pause_text="Stocktaking", paused_by=ann
    )
    export = ErpExport(erp_connection=connection, next_attempt_at=NOW)
    found = outlook(export, Known(CASES[0], connection))
    assert found.text == "Waiting: the connection is paused. Reason: Stocktaking (ann)"


# The doors.
@pytest.fixture
def browser(vera: User) -> Client:
    return logged_in(vera)


@pytest.mark.django_db
@each_case
def test_every_door_says_the_same(case: Case, org: Org, vera: User, browser: Client) -> None:
    config = CONFIG | ({"ack_path": "/acks"} if case.reads_acks else {})
    erp = a_connection(org, config)
    (export,) = some_exports(org, vera)
    now = db_now()
    ErpExport.objects.update(**at(case.export, now))
    if case.connection:
        ErpConnection.objects.update(**at(case.connection, now))
    if case.has_worker:
        heartbeat.register()
    if case.is_elsewhere:
        DeliveryInstance.objects.update(name="staging")

    waiting_for = client(vera, org).get(f"{EXPORTS}/{export.id}").json()["waiting_for"]
    (listed,) = client(vera, org).get(EXPORTS).json()["results"]
    assert listed["waiting_for"] == waiting_for
    if "status" in case.export or case.code is Code.DUE:
        assert waiting_for is None
    else:
        until = waiting_for.pop("until")
        assert (until and datetime.fromisoformat(until)) == (case.until and now + case.until)
        connection = ErpConnection.objects.get(id=erp.id)
        assert waiting_for == {
            "code": case.code,
            "message": case.text,
            "connection_paused": connection.pause_reason or None,
            "error": connection.last_error,
        }
    for url in (
        page_url("exports_erpexport_change", export.id),
        page_url("orders_draftorder_change", export.draft_order_id),
        f"{page_url('search')}?q=PO",
    ):
        page = unescape(text(browser.get(url)))
        assert page.count(f"<p>{case.text}") == 1, url
        assert ("Next try: " in page or "Ack due: " in page) == (case.until is not None), url
    page = unescape(text(browser.get(page_url("exports_erpexport_changelist"))))
    assert f'title="{case.text}"' in page
    assert f" <span>{case.label}</span>" in page


@pytest.mark.django_db
def test_an_error_of_the_connection_is_told_while_it_is_tried_again(org: Org, vera: User) -> None:
    a_connection(org, CONFIG)
    some_exports(org, vera)
    heartbeat.register()
    ErpConnection.objects.update(failures=1, retry_at=db_now() - HOUR, last_error=ERROR)
    (listed,) = client(vera, org).get(EXPORTS).json()["results"]
    assert (listed["waiting_for"]["code"], listed["waiting_for"]["error"]) == ("DUE", ERROR)


@pytest.mark.django_db
def test_it_takes_two_queries_for_any_number_of_exports(
    org: Org, vera: User, browser: Client
) -> None:
    api = client(vera, org)
    a_connection(org, CONFIG | {"ack_path": "/acks"})
    heartbeat.register()

    def queries() -> list[int]:
        counts = []
        for door, url in (
            (api, EXPORTS),
            (browser, page_url("exports_erpexport_changelist")),
            (browser, f"{page_url('search')}?q=PO"),
        ):
            with CaptureQueriesContext(database) as captured:
                assert door.get(url).status_code == 200
            counts.append(len(captured))
        return counts

    some_exports(org, vera, 2)
    ErpExport.objects.update(**at(SENT, db_now()))
    queries()
    before = queries()
    some_exports(org, vera, 1, first=10)
    one = queries()
    some_exports(org, vera, 4, first=20)
    assert [after - count for after, count in zip(one, before, strict=True)] == [2, 2, 2]
    assert queries() == one
    ErpConnection.objects.update(
        paused_at=db_now(), pause_code=BY_PERSON, pause_text="Stocktaking", paused_by=vera
    )
    assert queries() == before

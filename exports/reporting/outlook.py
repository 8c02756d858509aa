"""Why an export waits and what happens next: API, pages, lists and search show it from here."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from typing import Final
from uuid import UUID

from django.db.models import Exists

from connectors import ownership
from connectors.circuit_breaker import pause_sentence
from connectors.models import ErpConnection
from exports.delivery import heartbeat
from exports.models import ErpExport
from kernel.db import db_now

Status = ErpExport.Status


class Code(StrEnum):
    """What an export waits for, or how it ended."""

    NEEDS_DECISION = "NEEDS_DECISION"
    CONNECTION_PAUSED = "CONNECTION_PAUSED"
    CONNECTION_FAILING = "CONNECTION_FAILING"
    OTHER_INSTALLATION = "OTHER_INSTALLATION"
    NO_WORKER = "NO_WORKER"
    RETRY_LATER = "RETRY_LATER"
    DUE = "DUE"
    ACK_OVERDUE = "ACK_OVERDUE"
    NO_ACK_EXPECTED = "NO_ACK_EXPECTED"
    AWAITING_ACK = "AWAITING_ACK"
    ACKNOWLEDGED = "ACKNOWLEDGED"
    FAILED = "FAILED"


# A few words for lists, where the status and its badges do not say it.
_LABELS: Final = {
    Code.NEEDS_DECISION: "arrival unknown",
    Code.CONNECTION_PAUSED: "connection paused",
    Code.CONNECTION_FAILING: "connection fails",
    Code.OTHER_INSTALLATION: "not delivered from here",
    Code.NO_WORKER: "no worker",
    Code.RETRY_LATER: "next try later",
    Code.DUE: "due now",
    Code.NO_ACK_EXPECTED: "no ack expected",
    Code.AWAITING_ACK: "waiting for the ack",
}
# What happens at the time `until`.
_DEADLINES: Final = {
    Code.CONNECTION_FAILING: "Next try",
    Code.RETRY_LATER: "Next try",
    Code.ACK_OVERDUE: "Ack due",
    Code.AWAITING_ACK: "Ack due",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """A stable code, a sentence for people, and the time of the next step if it is known."""

    code: Code
    text: str
    until: datetime | None = None

    @property
    def label(self) -> str:
        return _LABELS.get(self.code, "")

    @property
    def deadline(self) -> str:
        """What happens at the time `until`."""
        return _DEADLINES.get(self.code, "")

    @property
    def concerns_connection(self) -> bool:
        """Whether the page of the connection has more about it."""
        return self.code in (
            Code.CONNECTION_PAUSED,
            Code.CONNECTION_FAILING,
            Code.NO_ACK_EXPECTED,
        )

    @property
    def expects_ack(self) -> bool:
        return self.code in (Code.ACK_OVERDUE, Code.AWAITING_ACK)


class Circumstances:
    """What holds for all exports that one request shows; asked when it is needed, and once."""

    def __init__(self) -> None:
        self._reads_acks: dict[UUID, bool] = {}

    @cached_property
    def now(self) -> datetime:
        return db_now()

    @property
    def is_other_installation(self) -> bool:
        return self._has_worker_here is None

    @property
    def has_worker(self) -> bool:
        return bool(self._has_worker_here)

    @cached_property
    def _has_worker_here(self) -> bool | None:
        """Whether a worker is alive; None if the database is another installation's."""
        is_alive = Exists(heartbeat.alive(self.now))
        return ownership.ours().values_list(is_alive, flat=True).first()

    def reads_acks(self, connection: ErpConnection) -> bool:
        # Each configuration is decrypted once.
        if connection.id not in self._reads_acks:
            self._reads_acks[connection.id] = connection.reads_acks
        return self._reads_acks[connection.id]


def outlook(export: ErpExport, circumstances: Circumstances) -> Outlook:
    """Return what an export waits for, or how it ended.

    Takes no query for an export whose connection is loaded, with its configuration and who paused
    it; a pending one may take two for the circumstances.
    """
    return _BY_STATUS[Status(export.status)](export, circumstances)


def _pending(export: ErpExport, circumstances: Circumstances) -> Outlook:
    connection = export.erp_connection
    if export.needs_decision:
        return Outlook(
            code=Code.NEEDS_DECISION,
            text="It is not known whether the file arrived. Ask the ERP team, then resolve it "
            "manually.",
        )
    if connection.is_paused:
        return Outlook(
            code=Code.CONNECTION_PAUSED,
            text=f"Waiting: the connection is paused. Reason: {pause_sentence(connection)}",
        )
    if connection.retry_at and connection.retry_at > circumstances.now:
        error = (connection.last_error or {}).get("message", "")
        return Outlook(
            code=Code.CONNECTION_FAILING,
            text=f"Waiting: the connection fails. {error}".rstrip(),
            until=connection.retry_at,
        )
    if circumstances.is_other_installation:
        return Outlook(
            code=Code.OTHER_INSTALLATION,
            text="Waiting: nothing is delivered from this database.",
        )
    if not circumstances.has_worker:
        return Outlook(
            code=Code.NO_WORKER,
            text="Waiting: no worker is running. Ask an operator to start manage.py worker.",
        )
    if export.next_attempt_at and export.next_attempt_at > circumstances.now:
        return Outlook(
            code=Code.RETRY_LATER, text="Waiting for the next try.", until=export.next_attempt_at
        )
    return Outlook(code=Code.DUE, text="A worker sends it now.")


def _sent(export: ErpExport, circumstances: Circumstances) -> Outlook:
    if export.is_overdue:
        ask = (
            "The ERP picked the file up, but the ack is overdue. Ask the ERP team what became of "
            "the order."
            if export.picked_up_at
            else "The ack is overdue, and the file was not picked up as far as is known. Ask the "
            "ERP team whether the import is running."
        )
        return Outlook(
            code=Code.ACK_OVERDUE,
            text=f"{ask} Nothing is sent again by itself.",
            until=export.ack_due_at,
        )
    fact = "The ERP picked the file up." if export.picked_up_at else "The file was sent."
    if not circumstances.reads_acks(export.erp_connection):
        return Outlook(
            code=Code.NO_ACK_EXPECTED,
            text=f"{fact} The connection has no ack folder, so no ack is expected.",
        )
    return Outlook(
        code=Code.AWAITING_ACK,
        text=f"{fact} The ERP has not acknowledged it yet.",
        until=export.ack_due_at,
    )


def _acked(export: ErpExport, _: Circumstances) -> Outlook:
    number = f" as {export.erp_order_id}" if export.erp_order_id else ""
    return Outlook(code=Code.ACKNOWLEDGED, text=f"In the ERP{number}.")


def _failed(export: ErpExport, _: Circumstances) -> Outlook:
    message = (export.error_json or {}).get("message")
    text = f"Not in the ERP: {message}" if message else "Not in the ERP."
    return Outlook(code=Code.FAILED, text=text)


_BY_STATUS: Final[dict[ErpExport.Status, Callable[[ErpExport, Circumstances], Outlook]]] = {
    Status.PENDING: _pending,
    Status.SENT: _sent,
    Status.ACKED: _acked,
    Status.FAILED: _failed,
}

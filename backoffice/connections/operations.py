"""Operating a connection: test it, pin its host key, deliver, check acks, pause and resume."""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils.formats import localize

from accounts.models import User
from backoffice.actions import Done, ObjectAction, Submitted, ask_reason
from backoffice.badges import Tone, badge
from backoffice.connections.state import full_state, pinned_keys, unpinned_key
from backoffice.pages import draw
from backoffice.scoping import OrgScopedAdmin
from connectors import circuit_breaker
from connectors.configuring import pin_host_key
from connectors.errors import ConnectorError
from connectors.models import NEVER_TESTED, ErpConnection
from connectors.port import ConfigError, HostKey
from exports.connection_tests import is_lost, request_test
from exports.delivery import heartbeat
from exports.delivery.dispatch import poll_now
from exports.models import ErpExport
from exports.pushing.push import deliver_waiting
from kernel.errors import RuleViolation

_OUTCOME_TONES = {"ok": Tone.GOOD, "failed": Tone.BAD, "skipped": Tone.QUIET}


def test_result_view(
    model_admin: OrgScopedAdmin[ErpConnection], request: HttpRequest, pk: UUID, test: UUID
) -> HttpResponse:
    """A test as far as it has come; the page looks again by itself until it has ended."""
    connection = model_admin.get_or_404(request, pk)
    asked = get_object_or_404(connection.tests, pk=test)
    return draw(
        model_admin,
        request,
        "admin/connectors/erpconnection/test_result.html",
        title="Connection test",
        original=connection,
        test=asked,
        is_running=not asked.finished_at and not is_lost(asked),
        has_worker=heartbeat.alive().exists(),
        steps=[
            (step, badge(step["outcome"], _OUTCOME_TONES[step["outcome"]])) for step in asked.steps
        ],
        milliseconds=sum(step["milliseconds"] for step in asked.steps),
        buttons=model_admin.buttons(request, connection),
        **full_state(connection),
    )


def _test(submitted: Submitted[ErpConnection]) -> Done:
    connection = submitted.obj
    test = request_test(connection, actor=submitted.actor)
    page = redirect("admin:connectors_erpconnection_test_result", connection.pk, test.pk)
    return Done(history="Asked for a connection test.", page=page)


def _poll_denial(connection: ErpConnection) -> str:
    if circuit_breaker.may_read(connection):
        return ""
    why = (
        f"The connection is paused: {circuit_breaker.pause_sentence(connection)}"
        if connection.is_paused
        else f"The next try is at {localize(connection.retry_at)}."
    )
    return f"The dropzone cannot be reached. {why}"


def _poll(submitted: Submitted[ErpConnection]) -> Done:
    if denial := _poll_denial(submitted.obj):
        raise RuleViolation("NOT_REACHABLE", denial)
    poll_now(submitted.obj.pk)
    return Done(message="A worker looks for acks now.", history="Asked for a look at the acks.")


def _deliver_denial(connection: ErpConnection) -> str:
    return (
        "The connection is paused: what waits goes when it resumes." if connection.is_paused else ""
    )


def _deliver(submitted: Submitted[ErpConnection]) -> Done:
    deliver_waiting(submitted.obj.pk, actor=submitted.actor)
    return Done(message="A worker delivers now.", history="Asked for a delivery.")


def _key_to_pin(connection: ErpConnection) -> HostKey:
    if seen := unpinned_key(connection):
        return seen
    raise RuleViolation("NO_HOST_KEY", "There is no new host key to pin.")


def _pin_sentences(connection: ErpConnection) -> list[str]:
    return [
        "Ask the ERP admin, by another way than this connection, for the fingerprint "
        "of the server's host key. Pin the key only if it is the same.",
        "The pinned key is trusted instead of those trusted so far."
        if pinned_keys(connection)
        else "From then on only a server that shows this key is trusted.",
    ]


def _pin_preview(connection: ErpConnection, actor: User) -> dict[str, Any]:
    seen = _key_to_pin(connection)
    return {
        "pinned": [(key.key_type, key.fingerprint) for key in pinned_keys(connection)],
        "seen": (seen.key_type, seen.fingerprint),
        "hidden": [("host_key", seen.line)],
    }


def _pin(submitted: Submitted[ErpConnection]) -> Done:
    connection = submitted.obj
    seen = _key_to_pin(connection)
    if submitted.request.POST.get("host_key") != seen.line:
        raise RuleViolation("HOST_KEY_CHANGED", "Another test has seen another host key meanwhile.")
    try:
        pin_host_key(connection, seen.line, actor=submitted.actor)
    except (ConfigError, ConnectorError) as e:
        raise RuleViolation("NOT_PINNED", str(e)) from e
    return Done(
        message="The host key was pinned. Test the connection again.",
        history=f"Pinned the host key {seen.fingerprint}.",
    )


def _pause(submitted: Submitted[ErpConnection]) -> Done:
    reason = submitted.data["reason"]
    if not circuit_breaker.pause(submitted.obj.pk, reason=reason, actor=submitted.actor):
        raise RuleViolation("PAUSED", "Somebody has paused it already.")
    return Done(message="The connection was paused.", history=f"Paused: {reason}")


def _resume_denial(connection: ErpConnection) -> str:
    return "" if connection.is_paused else "The connection is not paused."


def _resume(submitted: Submitted[ErpConnection]) -> Done:
    connection = submitted.obj
    if circuit_breaker.resume(connection.pk, actor=submitted.actor):
        return Done(message="The connection was resumed.", history="Resumed.")
    connection.refresh_from_db()
    if not connection.is_paused:
        raise RuleViolation("NOT_PAUSED", "The connection was not paused.")
    raise RuleViolation(
        NEVER_TESTED,
        "The connection was not tested since it was set up or changed. "
        "It resumes by itself when its test passes.",
    )


def _has_waiting(connection: ErpConnection) -> bool:
    return connection.exports.filter(status=ErpExport.Status.PENDING).exists()


def _is_untested(connection: ErpConnection) -> bool:
    return connection.system_pause_code == NEVER_TESTED


ACTIONS: Final[Sequence[ObjectAction[ErpConnection]]] = (
    ObjectAction(
        name="test",
        label="Test connection",
        permission="connectors.test_erpconnection",
        sentences=lambda connection: [
            "The test does what a delivery does: it logs in and writes, renames and "
            "removes a small file whose name no ERP takes for an order. "
            "No order is sent by the test itself.",
            "If it passes, a pause by the system ends and waiting exports are delivered.",
        ],
        service=_test,
        is_primary=lambda connection: True,
    ),
    ObjectAction(
        name="deliver",
        label="Deliver now",
        permission="orders.push_draftorder",
        denial=_deliver_denial,
        sentences=lambda connection: [
            "A worker tries at once what waits here, also what was put off after failures. "
            "What was sent is not sent twice. Exports that need a decision go on waiting."
        ],
        service=_deliver,
        is_offered=lambda connection: not connection.is_paused and _has_waiting(connection),
    ),
    ObjectAction(
        name="poll",
        label="Check acks now",
        permission="connectors.test_erpconnection",
        denial=_poll_denial,
        sentences=lambda connection: [
            "A worker looks into the ack folder at once: what the ERP has answered counts "
            "and is moved away, and files that the ERP has taken are noted."
        ],
        service=_poll,
        is_offered=lambda connection: connection.active and connection.reads_acks,
    ),
    ObjectAction(
        name="pin",
        label="Pin host key",
        permission="connectors.change_erpconnection",
        sentences=_pin_sentences,
        preview=_pin_preview,
        template="admin/connectors/erpconnection/pin.html",
        service=_pin,
        is_offered=lambda connection: unpinned_key(connection) is not None,
        is_primary=lambda connection: True,
    ),
    ObjectAction(
        name="pause",
        label="Pause connection",
        permission="connectors.pause_erpconnection",
        form=ask_reason,
        sentences=lambda connection: [
            "Nothing is delivered until a person resumes the connection. "
            "Orders can still be pushed: their exports wait."
        ],
        service=_pause,
        is_offered=lambda connection: connection.paused_by is None,
    ),
    ObjectAction(
        name="resume",
        label="Resume connection",
        permission="connectors.pause_erpconnection",
        denial=_resume_denial,
        sentences=lambda connection: [
            "Waiting exports are delivered at once.",
            f"The connection was paused: {circuit_breaker.pause_sentence(connection)}",
        ],
        service=_resume,
        is_offered=lambda connection: connection.is_paused and not _is_untested(connection),
    ),
)

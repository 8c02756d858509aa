"""Operating a connection: test, send, check acks, pin the host key, pause, resume."""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils.formats import localize
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

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
    """The steps of a test so far. The page updates itself until the test has ended."""
    connection = model_admin.get_or_404(request, pk)
    asked = get_object_or_404(connection.tests, pk=test)
    return draw(
        model_admin,
        request,
        "admin/connectors/erpconnection/test_result.html",
        title=gettext("Connection test"),
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
    if connection.is_paused:
        return gettext(
            "The dropzone cannot be reached. The connection is paused. Reason: %(reason)s"
        ) % {"reason": circuit_breaker.pause_sentence(connection)}
    return gettext("The dropzone cannot be reached. Next try: %(at)s.") % {
        "at": localize(connection.retry_at)
    }


def _key_to_pin(connection: ErpConnection) -> HostKey:
    if seen := unpinned_key(connection):
        return seen
    raise RuleViolation("NO_HOST_KEY", gettext("There is no new host key to pin."))


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
        raise RuleViolation(
            "HOST_KEY_CHANGED",
            gettext("A later test has seen another host key. Compare the keys again."),
        )
    try:
        pin_host_key(connection, seen.line, actor=submitted.actor)
    except (ConfigError, ConnectorError) as e:
        raise RuleViolation("NOT_PINNED", str(e)) from e
    return Done(
        message=gettext("The host key was pinned. Test the connection again."),
        history=f"Pinned the host key {seen.fingerprint}.",
    )


def _pause(submitted: Submitted[ErpConnection]) -> Done:
    reason = submitted.data["reason"]
    if not circuit_breaker.pause(submitted.obj.pk, reason=reason, actor=submitted.actor):
        raise RuleViolation("PAUSED", gettext("Another person has paused the connection already."))
    return Done(message=gettext("The connection was paused."), history=f"Paused: {reason}")


def _resume(submitted: Submitted[ErpConnection]) -> None:
    if not circuit_breaker.resume(submitted.obj.pk, actor=submitted.actor):
        raise RuleViolation(
            NEVER_TESTED,
            gettext(
                "The connection was not tested since it was created or changed. "
                "Test it: it resumes by itself when the test passes."
            ),
        )


ACTIONS: Final[Sequence[ObjectAction[ErpConnection]]] = (
    ObjectAction(
        name="test",
        label=_("Test connection"),
        permission="connectors.test_erpconnection",
        sentences=[
            _(
                "The test does the same steps as sending an order: it logs in, then writes, "
                "renames and removes a small file with a name that ERPs ignore. "
                "It sends no order."
            ),
            _("If the test passes, a pause by the system ends and waiting exports are sent."),
        ],
        service=_test,
        is_primary=lambda connection: True,
    ),
    ObjectAction(
        name="deliver",
        label=_("Send waiting exports now"),
        permission="orders.push_draftorder",
        denial=lambda connection: (
            gettext("The connection is paused. Waiting exports are sent when it resumes.")
            if connection.is_paused
            else ""
        ),
        sentences=[
            _(
                "A worker tries all waiting exports of this connection now, also those that "
                "failed before. A file that was sent is not sent twice. Exports that need a "
                "decision keep waiting."
            )
        ],
        service=lambda submitted: deliver_waiting(submitted.obj.pk, actor=submitted.actor),
        done=_("A worker sends the waiting exports now."),
        history="Asked for a delivery.",
        is_offered=lambda connection: (
            not connection.is_paused
            and connection.exports.filter(status=ErpExport.Status.PENDING).exists()
        ),
    ),
    ObjectAction(
        name="poll",
        label=_("Check acks now"),
        permission="connectors.test_erpconnection",
        denial=_poll_denial,
        sentences=[
            _(
                "A worker reads the ack folder now. It applies the acks and moves their files "
                "away. It also notes which files the ERP has picked up."
            )
        ],
        service=lambda submitted: poll_now(submitted.obj.pk),
        done=_("A worker checks for acks now."),
        history="Asked for a check of the acks.",
        is_offered=lambda connection: connection.active and connection.reads_acks,
    ),
    ObjectAction(
        name="pin",
        label=_("Pin host key"),
        permission="connectors.change_erpconnection",
        sentences=[
            _(
                "Ask the ERP team for the fingerprint of the server's host key, not over this "
                "connection. Pin the key only if both are the same."
            ),
            _("From now on only a server with this key is trusted."),
        ],
        preview=_pin_preview,
        template="admin/connectors/erpconnection/pin.html",
        service=_pin,
        is_offered=lambda connection: unpinned_key(connection) is not None,
        is_primary=lambda connection: True,
    ),
    ObjectAction(
        name="pause",
        label=_("Pause connection"),
        permission="connectors.pause_erpconnection",
        form=ask_reason,
        sentences=[
            _(
                "Nothing is sent until a person resumes the connection. "
                "Orders can still be pushed: their exports wait."
            )
        ],
        service=_pause,
        is_offered=lambda connection: connection.paused_by is None,
    ),
    ObjectAction(
        name="resume",
        label=_("Resume connection"),
        permission="connectors.pause_erpconnection",
        denial=lambda connection: (
            "" if connection.is_paused else gettext("The connection is not paused.")
        ),
        sentences=[
            _("Waiting exports are sent now."),
            _("Reason of the pause: %(reason)s"),
        ],
        facts=lambda connection: {"reason": circuit_breaker.pause_sentence(connection)},
        service=_resume,
        done=_("The connection was resumed."),
        history="Resumed.",
        is_offered=lambda connection: (
            connection.is_paused and connection.system_pause_code != NEVER_TESTED
        ),
    ),
)

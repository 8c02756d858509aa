"""Manual resolution: a person says what became of an export."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from django.db import models, transaction
from django.utils.translation import gettext as _

from accounts import audit
from accounts.audit import Action
from accounts.models import User
from connectors import circuit_breaker, lease, ownership
from connectors.configuring import leads_to
from connectors.errors import ConnectorError
from connectors.lease import Lease
from connectors.port import Evidence, Session
from exports import lifecycle
from exports.delivery.outcomes import mark_sent
from exports.lifecycle import Event, eligible_for
from exports.models import ErpExport
from exports.pushing.push import retry_order
from kernel.db import retried
from kernel.dry_run import dry_run
from kernel.errors import RuleViolation
from kernel.failpoints import failpoint

Status = ErpExport.Status


class Resolution(models.TextChoices):
    """What a person has found out."""

    DELIVERED = "DELIVERED", "It was delivered: the ERP has the order, or will pick it up"
    NOT_DELIVERED = "NOT_DELIVERED", "It was not delivered: the ERP never saw the file"
    GIVEN_UP = "GIVEN_UP", "It was sent, but the ERP will not process it: give it up"


_EVENTS = {
    Resolution.DELIVERED: Event.RESOLVED_DELIVERED,
    Resolution.NOT_DELIVERED: Event.RESOLVED_NOT_DELIVERED,
    Resolution.GIVEN_UP: Event.RESOLVED_GIVEN_UP,
}
_GIVEN_UP = "A person gave the export up: it was sent, but the ERP did not process it."


def possible_resolutions(export: ErpExport) -> list[Resolution]:
    """What a person may say of an export in its present state."""
    this = ErpExport.objects.filter(id=export.id)
    return [outcome for outcome, event in _EVENTS.items() if this.filter(eligible_for(event))]


def resolve(
    export_id: UUID, outcome: Resolution, *, actor: User, reason: str, push_again: bool = False
) -> None:
    """Settle an export; `push_again`: then export its order anew under another file name.

    If the dropzone can be reached, it is checked first: while the file is in the export folder the
    export stays as it is, and a staged file is removed so that it cannot be sent later.

    Raises RuleViolation: NOT_RESOLVABLE, OTHER_INSTANCE, BUSY, LIES_THERE, NOT_REACHABLE, and what
    retry_order raises.
    """
    export = ErpExport.objects.select_related("erp_connection").get(id=export_id)
    if outcome not in possible_resolutions(export):
        raise RuleViolation(
            "NOT_RESOLVABLE",
            _("The export is %(status)s: this resolution does not apply to it.")
            % {"status": export.get_status_display()},
        )
    if outcome is Resolution.DELIVERED:
        _confirm(export, actor=actor, reason=reason)
        return
    if denial_reason := ownership.denial_reason():
        raise RuleViolation("OTHER_INSTANCE", denial_reason)
    with dry_run():
        # If the push is not allowed, say so before anything is changed.
        _fail(export, outcome, actor=actor)
        if push_again:
            retry_order(export.draft_order_id, actor=actor)
    with _looked_for(export, outcome, actor=actor) as seen, transaction.atomic():
        _fail(export, outcome, actor=actor, reason=reason, dropzone=seen)
        if push_again:
            retry_order(export.draft_order_id, actor=actor)


@retried
def _confirm(export: ErpExport, *, actor: User, reason: str) -> None:
    folder = export.staged_in.folder.path if export.staged_in else ""
    with transaction.atomic():
        if not mark_sent(
            [export],
            Evidence.CONFIRMED,
            {export.id: f"{folder}/{export.filename}"},
            ack_deadline=export.erp_connection.ack_deadline,
            actor=actor,
            reason=reason,
        ):
            raise _overtaken()
        _record(export, Status.SENT, actor=actor, outcome=Resolution.DELIVERED, reason=reason)


def _record(export: ErpExport, status: ErpExport.Status, *, actor: User, **detail: str) -> None:
    audit.record(
        Action.EXPORT_RESOLVED,
        export,
        actor=actor,
        before={"status": export.status},
        after={"status": status, **detail},
    )


def _fail(export: ErpExport, outcome: Resolution, *, actor: User, **detail: str) -> None:
    error = ConnectorError(outcome, public=_GIVEN_UP if outcome is Resolution.GIVEN_UP else None)
    if not lifecycle.apply(
        _EVENTS[outcome],
        [export.id],
        actor=actor,
        details={export.id: {"outcome": outcome, **detail}},
        error_json=error.as_json(),
    ):
        raise _overtaken()
    _record(export, Status.FAILED, actor=actor, outcome=outcome, **detail)


@contextmanager
def _looked_for(export: ErpExport, outcome: Resolution, *, actor: User) -> Iterator[str]:
    """Look for the file where it was put and keep workers away meanwhile; yield what was seen."""
    connection = export.erp_connection
    held = lease.acquire(connection.id)
    if held is None:
        raise RuleViolation(
            "BUSY", "A worker is delivering on this connection. Try again in half a minute."
        )
    try:
        try:
            seen = _look(export, held, outcome, actor=actor)
        except ConnectorError as e:
            if e.code == "DIR_MISSING":
                circuit_breaker.note_missing_folder(connection.id)
            if outcome is Resolution.GIVEN_UP:
                raise RuleViolation(
                    "NOT_REACHABLE",
                    _(
                        "It is not known whether the file is still in the export folder: "
                        "%(cause)s Repair the connection first, or change it to the dropzone that "
                        "is used now."
                    )
                    % {"cause": e.message},
                ) from e
            seen = f"not reached: {e.message}"
        yield seen
    finally:
        held.release()


def _look(export: ErpExport, held: Lease, outcome: Resolution, *, actor: User) -> str:
    connection = export.erp_connection
    config = connection.parse_config()
    if export.staged_in and not leads_to(connection, export.staged_in):
        return "the connection leads to another dropzone by now"
    if connection.pause_code == "AUTH_FAILED":
        # One more refused login could lock the account.
        raise ConnectorError("AUTH_FAILED")
    with connection.connector.open(config) as session:
        _refuse_if_visible(session, export)
        path = export.staged_path or ""
        if outcome is Resolution.GIVEN_UP or path == session.final_path(export.filename):
            return "the file is not in the export folder"
        # Committed first: if this process dies now, no worker takes the absence for a delivery.
        if not held.renew() or not lifecycle.apply(Event.RESOLVING, [export.id], actor=actor):
            raise _overtaken()
        failpoint("resolving")
        (failure,) = session.discard([path])
        if failure:
            raise failure
        # A worker whose lease had run out may have been quicker with its rename.
        _refuse_if_visible(session, export)
        return "the file is not in the export folder, and no staged one is left"


def _refuse_if_visible(session: Session, export: ErpExport) -> None:
    (is_visible,) = session.visible([export.filename])
    if isinstance(is_visible, ConnectorError):
        raise is_visible
    if is_visible:
        raise RuleViolation(
            "LIES_THERE",
            _(
                "The file %(filename)s is still in the export folder, so the ERP can still pick it "
                "up. If it must not, remove the file first."
            )
            % {"filename": export.filename},
        )


def _overtaken() -> RuleViolation:
    return RuleViolation(
        "NOT_RESOLVABLE", _("The export changed in the meantime. Look at it again.")
    )

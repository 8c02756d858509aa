"""Ack review: a person assigns, accepts or dismisses the acks that wait for a decision."""

import difflib
from collections.abc import Collection
from uuid import UUID

from django.db import transaction
from django.db.models import Q
from django.utils.translation import gettext as _

from accounts import audit
from accounts.audit import Action
from accounts.models import User
from connectors.port import Ack
from exports.acks import application
from exports.acks.classification import classify, event_of
from exports.events import publish_conflict_events
from exports.lifecycle import lock_exports
from exports.messages import Reason
from exports.models import ErpAck, ErpExport
from kernel.db import Now, db_now, retried
from kernel.errors import RuleViolation

Classification = ErpAck.Classification
# Comparing a name takes some 0.2 ms.
_COMPARED = 1_000
_CANDIDATES = 50


@retried
def dismiss(ack_id: UUID, *, actor: User, reason: str) -> None:
    """Let an ack mean nothing; what was acked before stands. Raises RuleViolation (DECIDED)."""
    with transaction.atomic():
        ack = _lock(ack_id)[0]
        ack.explain("", note=reason)
        _decide(ack, Classification.DISMISSED, Action.ACK_DISMISSED, actor=actor)


def has_effect(ack: ErpAck, export: ErpExport | None) -> bool:
    """Whether an ack, once accepted, changes its export: it conflicts with it or comes late.

    A refusal of an export that has failed already changes nothing.
    """
    if export is None or ack.classification not in (Classification.CONFLICT, Classification.LATE):
        return False
    return event_of(ack, export) is not None


@retried
def accept(ack_id: UUID, *, actor: User, reason: str) -> None:
    """Accept an ack that conflicts with an earlier one, or that came late.

    Raises RuleViolation: DECIDED, NO_CONFLICT, LIVE_EXPORT.
    """
    with transaction.atomic():
        ack, export = _lock(ack_id)
        if export is None or not has_effect(ack, export):
            raise RuleViolation(
                "NO_CONFLICT", "This ack changes nothing: it neither conflicts nor comes late."
            )
        if ack.is_accepted:
            _refuse_if_exported_again(export)
        export.acks.filter(classification=Classification.APPLIED).update(
            classification=Classification.DISMISSED,
            reason_code=Reason.REPLACED,
            reason_values={},
            note="",
            decided_by=actor,
            decided_at=Now(),
        )
        application.apply([ack], actor=actor)
        ack.explain("", note=reason)
        _decide(ack, Classification.APPLIED, Action.ACK_ACCEPTED, actor=actor)


@retried
def assign(
    ack_id: UUID, export_id: UUID, *, actor: User, reason: str, answer: Ack | None = None
) -> ErpAck:
    """Say which export an answer is about; return the answer with its new classification.

    It then means what it would have meant under the right name. `answer`: what it says, where the
    file itself was not understood. Raises RuleViolation: DECIDED, NOT_ASSIGNABLE, NO_ANSWER,
    NOT_SENT.
    """
    with transaction.atomic():
        ack, export = _lock(ack_id, export_id)
        if ack.classification not in (Classification.UNMATCHED, Classification.MALFORMED):
            raise RuleViolation("NOT_ASSIGNABLE", _("This ack already belongs to an export."))
        if export is None or export.erp_connection_id != ack.erp_connection_id:
            raise RuleViolation(
                "NOT_ASSIGNABLE",
                _("The export belongs to another connection. Choose one of this connection."),
            )
        answer = ack.content or answer
        if answer is None:
            raise RuleViolation(
                "NO_ANSWER",
                _(
                    "The file could not be read. Say whether the ERP acknowledged or refused the "
                    "order."
                ),
            )
        live = application.other_live_exports([export])
        classification, why, values = classify(export, answer, replaced_by=live.get(export.id))
        if classification in (Classification.WAITING, Classification.UNMATCHED):
            raise RuleViolation(
                "NOT_SENT",
                _("Export %(export)s was not sent yet. Assign the ack to an export that was sent.")
                % {"export": export},
            )
        ack.export = export
        ack.fill(answer)
        if classification == Classification.APPLIED:
            application.apply([ack], actor=actor)
        ack.explain(why, note=reason, **values)
        _decide(ack, classification, Action.ACK_ASSIGNED, actor=actor)
        if classification == Classification.CONFLICT:
            publish_conflict_events(ack.org_id, [ack], by_person=True)
    return ack


def candidates(ack: ErpAck) -> list[ErpExport]:
    """The exports that an answer may be about: sent and unanswered, the likeliest names first."""
    sent = ErpExport.objects.filter(
        erp_connection=ack.erp_connection_id, status=ErpExport.Status.SENT
    ).order_by("-sent_at")
    ids = dict(sent.values_list("filename", "id")[:_COMPARED])
    # A program that writes capitals means the same export.
    named = ack.filename.casefold()
    likeliest = difflib.get_close_matches(named, ids, n=_CANDIDATES, cutoff=0)
    exports = (
        sent.select_related("draft_order")
        .defer("payload")
        .in_bulk([ids[name] for name in likeliest])
    )
    return [exports[ids[name]] for name in likeliest]


def open_conflicts(order_ids: Collection[UUID]) -> dict[UUID, ErpAck]:
    """Of each order the last ack that a person has to decide about before another push.

    It conflicts with an earlier one, or it accepts an export late: the ERP may have the order.
    """
    found = (
        ErpAck.objects.filter(ErpAck.OPEN, export__draft_order__in=order_ids)
        .filter(
            Q(classification=Classification.CONFLICT)
            | Q(classification=Classification.LATE, is_accepted=True)
        )
        .select_related("export")
        .only("filename", "export__draft_order")
    )
    # Of several the last one stays.
    return {ack.export.draft_order_id: ack for ack in found.order_by("seen_at") if ack.export}


def _lock(ack_id: UUID, export_id: UUID | None = None) -> tuple[ErpAck, ErpExport | None]:
    """Lock an ack to be decided, and the export that it is about, by default its own.

    In the order in which a poll locks them: order, export, ack. Raises RuleViolation (DECIDED).
    """
    about = export_id or ErpAck.objects.values_list("export", flat=True).get(id=ack_id)
    exports = lock_exports([about] if about is not None else [])
    ack = ErpAck.objects.select_for_update().get(id=ack_id)
    if not ErpAck.objects.filter(ErpAck.OPEN, id=ack_id).exists():
        raise RuleViolation(
            "DECIDED",
            _("This ack needs no decision: %(state)s.")
            % {"state": ack.get_classification_display()},
        )
    if export_id is None and ack.export_id != about:
        raise RuleViolation(
            "DECIDED", _("Another person has just assigned this ack. Look at it again.")
        )
    export = next(iter(exports.values()), None)
    if export and ack.export_id == export.id:
        ack.export = export
    return ack, export


def _refuse_if_exported_again(export: ErpExport) -> None:
    live = application.other_live_exports([export]).get(export.id)
    if live is None:
        return
    if live.status == ErpExport.Status.ACKED:
        todo = (
            "The ERP has accepted that one, too, so it may have the order twice. Ask the ERP team "
            "to remove one, then dismiss this ack."
        )
    elif live.status == ErpExport.Status.PENDING and live.staged_path is None:
        todo = "Cancel that export first, then accept this ack."
    else:
        todo = "Resolve that export manually first, then accept this ack."
    raise RuleViolation(
        "LIVE_EXPORT",
        f"The order was exported again as {live.filename} ({live.get_status_display()}). {todo}",
        export=live.id,
    )


def _decide(
    ack: ErpAck, classification: ErpAck.Classification, action: Action, *, actor: User
) -> None:
    audit.record(
        action,
        ack,
        actor=actor,
        before={"classification": ack.classification},
        after={
            "classification": classification,
            "export": ack.export and str(ack.export),
            "reason": ack.reason,
        },
    )
    ack.classification, ack.decided_by = classification, actor
    # A contradiction that came to light by an assignment is still to be decided.
    ack.decided_at = (
        None if classification in (Classification.CONFLICT, Classification.LATE) else db_now()
    )
    ack.save(update_fields=[*ErpAck.LOOKED_AT_AGAIN, "decided_by", "decided_at"])

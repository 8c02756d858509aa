"""Decisions about an export: try it again now, resolve it manually, cancel it."""

from collections.abc import Sequence
from typing import Any, Final

from django import forms

from accounts.models import User
from backoffice.actions import Done, ObjectAction, Submitted, ask_reason
from backoffice.forms import LongText, RadioList
from exports.models import ErpExport
from exports.pushing.push import cancel_export, deliver_again
from exports.resolution.manual import Resolution, possible_resolutions, resolve
from kernel.errors import RuleViolation


class ResolveForm(forms.Form):
    outcome = forms.ChoiceField(label="What became of it", widget=RadioList)
    reason = forms.CharField(
        max_length=500,
        widget=LongText,
        help_text="How you know it. It stands in the export's timeline.",
    )
    push_again = forms.BooleanField(
        label="Push the order again at once", required=False, help_text="As a new file."
    )
    confirmation = forms.CharField(label="File name", widget=LongText)

    def __init__(self, export: ErpExport, actor: User, data: Any = None) -> None:
        super().__init__(data)
        self._filename = export.filename
        choices = [(outcome.value, outcome.label) for outcome in possible_resolutions(export)]
        outcome = self.fields["outcome"]
        assert isinstance(outcome, forms.ChoiceField)
        outcome.choices = choices
        if len(choices) == 1:
            outcome.initial = choices[0][0]
        self.fields["confirmation"].help_text = f"To confirm, enter {export.filename}"
        if not actor.has_perm("orders.push_draftorder"):
            del self.fields["push_again"]

    def clean_confirmation(self) -> str:
        if (name := str(self.cleaned_data["confirmation"]).strip()) != self._filename:
            raise forms.ValidationError("This is not the name of the file.")
        return name


def _is_waiting(export: ErpExport) -> bool:
    return export.status == ErpExport.Status.PENDING


def _deliver_sentences(export: ErpExport) -> list[str]:
    return [
        f"A worker looks at the file {export.filename} of order {export.draft_order} "
        "again now. What was sent is not sent twice, and nothing is overwritten.",
    ]


def _deliver(submitted: Submitted[ErpExport]) -> Done:
    deliver_again(submitted.obj.pk, actor=submitted.actor)
    return Done(message="The export is delivered again now.")


def _settle_sentences(export: ErpExport) -> list[str]:
    if not possible_resolutions(export):
        raise RuleViolation("NOT_RESOLVABLE", "There is nothing to settle.")
    return [
        f"The service cannot know for certain what became of the file "
        f"{export.filename} of order {export.draft_order}. Ask the ERP admin, then "
        "say it here: it counts as the truth from then on.",
        "If the file was not delivered, or is given up, the order can be pushed "
        "again. Should the ERP have the file after all, it has the order twice.",
    ]


def _settle(submitted: Submitted[ErpExport]) -> Done:
    data = submitted.data
    outcome = Resolution(data["outcome"])
    resolve(
        submitted.obj.pk,
        outcome,
        actor=submitted.actor,
        reason=data["reason"],
        push_again=data.get("push_again", False),
    )
    return Done(message="The export was settled.", history=f"Settled: {outcome.label}.")


def _cancel_sentences(export: ErpExport) -> list[str]:
    return [
        f"The file {export.filename} of order {export.draft_order} is taken back "
        "before anything reaches the ERP, if it is not on its way yet.",
        "The order is then approved again: it can be edited, pushed or rejected.",
    ]


def _cancel(submitted: Submitted[ErpExport]) -> Done:
    cancel_export(submitted.obj.pk, actor=submitted.actor, reason=submitted.data["reason"])
    return Done(message="The export was cancelled.", history="Cancelled.")


ACTIONS: Final[Sequence[ObjectAction[ErpExport]]] = (
    ObjectAction(
        name="deliver",
        label="Deliver again",
        permission="orders.push_draftorder",
        sentences=_deliver_sentences,
        service=_deliver,
        is_offered=lambda export: _is_waiting(export) and export.attempts > 0,
        is_primary=lambda export: not export.needs_decision,
    ),
    ObjectAction(
        name="settle",
        label="Settle by hand",
        permission="exports.resolve_erpexport",
        form=ResolveForm,
        sentences=_settle_sentences,
        service=_settle,
        is_offered=lambda export: bool(possible_resolutions(export)),
        is_primary=lambda export: export.needs_decision,
    ),
    ObjectAction(
        name="cancel",
        label="Cancel export",
        permission="exports.cancel_erpexport",
        form=ask_reason,
        sentences=_cancel_sentences,
        service=_cancel,
        is_offered=lambda export: _is_waiting(export) and export.staged_path is None,
    ),
)

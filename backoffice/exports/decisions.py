"""Decisions about an export: try it again now, resolve it manually, cancel it."""

from collections.abc import Sequence
from typing import Any, Final

from django import forms
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from backoffice.actions import Done, ObjectAction, Submitted, ask_reason
from backoffice.forms import LongText, RadioList
from exports.models import ErpExport
from exports.pushing.push import cancel_export, deliver_again
from exports.resolution.manual import Resolution, possible_resolutions, resolve


class ResolveForm(forms.Form):
    outcome = forms.ChoiceField(label=_("What happened to the file"), widget=RadioList)
    reason = forms.CharField(
        label=_("Reason"),
        max_length=500,
        widget=LongText,
        help_text=_("How you know it. The timeline of the export shows it."),
    )
    push_again = forms.BooleanField(
        label=_("Push the order again now"), required=False, help_text=_("As a new file.")
    )
    confirmation = forms.CharField(label=_("File name"), widget=LongText)

    def __init__(self, export: ErpExport, actor: User, data: Any = None) -> None:
        super().__init__(data)
        self._filename = export.filename
        choices = [(outcome.value, outcome.label) for outcome in possible_resolutions(export)]
        outcome = self.fields["outcome"]
        assert isinstance(outcome, forms.ChoiceField)
        outcome.choices = choices
        if len(choices) == 1:
            outcome.initial = choices[0][0]
        self.fields["confirmation"].help_text = gettext("To confirm, enter %(file)s") % {
            "file": export.filename
        }
        if not actor.has_perm("orders.push_draftorder"):
            del self.fields["push_again"]

    def clean_confirmation(self) -> str:
        if (name := str(self.cleaned_data["confirmation"]).strip()) != self._filename:
            raise forms.ValidationError(gettext("This is not the name of the file."))
        return name


def _names(export: ErpExport) -> dict[str, str]:
    return {"file": export.filename, "order": str(export.draft_order)}


def _resolve(submitted: Submitted[ErpExport]) -> Done:
    data = submitted.data
    outcome = Resolution(data["outcome"])
    resolve(
        submitted.obj.pk,
        outcome,
        actor=submitted.actor,
        reason=data["reason"],
        push_again=data.get("push_again", False),
    )
    return Done(
        message=gettext("The export was resolved."), history=f"Resolved manually: {outcome.label}."
    )


ACTIONS: Final[Sequence[ObjectAction[ErpExport]]] = (
    ObjectAction(
        name="deliver",
        label=_("Try again now"),
        permission="orders.push_draftorder",
        facts=_names,
        sentences=[
            _(
                "A worker tries the file %(file)s of order %(order)s again now. A file that was "
                "sent is not sent twice, and no file is overwritten."
            )
        ],
        service=lambda submitted: deliver_again(submitted.obj.pk, actor=submitted.actor),
        done=_("A worker tries this export again now."),
        is_offered=lambda export: export.status == ErpExport.Status.PENDING and export.attempts > 0,
        is_primary=lambda export: not export.needs_decision,
    ),
    ObjectAction(
        name="resolve",
        label=_("Resolve manually"),
        permission="exports.resolve_erpexport",
        form=ResolveForm,
        denial=lambda export: (
            "" if possible_resolutions(export) else gettext("There is nothing to resolve.")
        ),
        facts=_names,
        sentences=[
            _(
                "The service does not know what happened to the file %(file)s of order %(order)s. "
                "Ask the ERP team, then choose the answer here. The service relies on it."
            ),
            _(
                "If the file did not arrive, or you give it up, the order can be pushed again. "
                "If the ERP has the file after all, it then has the order twice."
            ),
        ],
        service=_resolve,
        is_offered=lambda export: bool(possible_resolutions(export)),
        is_primary=lambda export: export.needs_decision,
    ),
    ObjectAction(
        name="cancel",
        label=_("Cancel export"),
        permission="exports.cancel_erpexport",
        form=ask_reason,
        facts=_names,
        sentences=[
            _(
                "The export %(file)s of order %(order)s is cancelled. This is possible only until "
                "a worker starts to send it."
            ),
            _("The order is approved again: it can be edited, pushed or rejected."),
        ],
        service=lambda submitted: cancel_export(
            submitted.obj.pk, actor=submitted.actor, reason=submitted.data["reason"]
        ),
        done=_("The export was cancelled."),
        history="Cancelled.",
        is_offered=lambda export: (
            export.status == ErpExport.Status.PENDING and export.staged_path is None
        ),
    ),
)

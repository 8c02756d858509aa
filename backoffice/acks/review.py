"""The review of acks: a person assigns, accepts or dismisses an ack."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from django import forms
from django.db.models import Q
from django.utils.formats import localize
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from backoffice.actions import Done, ObjectAction, Submitted, ask_reason
from backoffice.badges import ack_badge, export_badge
from backoffice.forms import LongText, RadioList
from backoffice.pages import confirmation
from backoffice.texts import Text
from connectors.port import Ack
from exports.acks import review
from exports.acks.preview import ack_preview
from exports.models import ErpAck, ErpExport
from kernel.errors import RuleViolation

Classification = ErpAck.Classification

# What can be decided: the last part of the page's URL, and what its button says.
OFFERED: Final[dict[str, dict[str, Text]]] = {
    Classification.CONFLICT: {
        "accept": _("Let the later ack count"),
        "dismiss": _("Keep the first ack"),
    },
    Classification.LATE: {"accept": _("Accept this ack"), "dismiss": _("Dismiss")},
    Classification.UNMATCHED: {"assign": _("Assign to an export"), "dismiss": _("Dismiss")},
    Classification.MALFORMED: {"assign": _("Enter what it says"), "dismiss": _("Dismiss")},
}


def offered(ack: ErpAck) -> dict[str, Text]:
    """What can be decided about this ack."""
    decisions = OFFERED.get(ack.classification, {})
    is_acceptable = review.has_effect(ack, ack.export)
    return {name: label for name, label in decisions.items() if name != "accept" or is_acceptable}


class AssignForm(forms.Form):
    """The export of an ack and, if its file cannot be read, what it says."""

    export = forms.ChoiceField(label=_("Sent, not acknowledged"), widget=RadioList, required=False)
    filename = forms.CharField(
        label=_("Or another export"),
        required=False,
        widget=LongText,
        help_text=_("The name of its file. It must belong to the same connection."),
    )
    outcome = forms.ChoiceField(
        label=_("The ERP has"),
        widget=RadioList,
        choices=[("accepted", _("acknowledged the order")), ("refused", _("refused the order"))],
    )
    erp_order_id = forms.CharField(
        label=_("ERP number"),
        max_length=200,
        required=False,
        help_text=_("If the ERP acknowledged the order and gave it a number."),
    )
    error_code = forms.CharField(
        label=_("ERP code"),
        max_length=200,
        required=False,
        help_text=_("If the ERP refused the order."),
    )
    message = forms.CharField(
        max_length=2000, required=False, widget=LongText, help_text=_("Why the ERP refused it.")
    )
    reason = forms.CharField(
        max_length=500, widget=LongText, help_text=_("How you know it. It is kept, with your name.")
    )

    def __init__(self, ack: ErpAck, actor: User, data: Any = None) -> None:
        known = str(ack.export_id or "")
        candidates = {str(export.pk): _named(export) for export in review.candidates(ack)}
        initial = {"export": known}
        if ack.export and known not in candidates:
            initial = {"filename": ack.export.filename}
        super().__init__(data, initial=initial)
        self._ack, self._actor = ack, actor
        self._chosen: ErpExport | None = None
        # What the assignment will change, once the form is valid.
        self.ack_preview: list[str] = []
        field = self.fields["export"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = list(candidates.items())
        if not candidates:
            del self.fields["export"]
            self.fields["filename"].label = gettext("Export")
        if ack.content:
            for name in ("outcome", "erp_order_id", "error_code", "message"):
                del self.fields[name]

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        key, filename = data.get("export"), data.get("filename", "").strip()
        if bool(key) == bool(filename):
            self.add_error("filename", gettext("Choose one export, or enter the name of its file."))
        else:
            self._chosen = (
                ErpExport.objects.select_related("draft_order")
                .filter(erp_connection=self._ack.erp_connection_id)
                .filter(Q(id=key) if key else Q(filename=filename))
                .first()
            )
            if self._chosen is None:
                self.add_error(
                    "filename", gettext("This connection has no export with this file name.")
                )
        impossible = {"accepted": ("error_code", "message"), "refused": ("erp_order_id",)}
        for name in impossible.get(data.get("outcome", ""), ()):
            if data.get(name):
                self.add_error(name, gettext("This contradicts what you chose above."))
        if not self.errors:
            try:
                self.ack_preview = ack_preview(self._ack, self._chosen, self.assign)
            except RuleViolation as e:
                self.add_error(None, e.message)
        return data

    def assign(self) -> None:
        review.assign(
            self._ack.pk,
            self.chosen.pk,
            actor=self._actor,
            reason=self.cleaned_data["reason"],
            answer=self.answer,
        )

    @property
    def chosen(self) -> ErpExport:
        """The export, once the form is valid."""
        assert self._chosen is not None
        return self._chosen

    @property
    def answer(self) -> Ack | None:
        """The ack as a person entered it; None if the file says it itself."""
        if "outcome" not in self.fields:
            return None
        data = self.cleaned_data
        return Ack(
            is_accepted=data["outcome"] == "accepted",
            erp_order_id=data["erp_order_id"] or None,
            error_code=data["error_code"] or None,
            message=data["message"] or None,
            processed_at=None,
        )

    @property
    def entered(self) -> list[tuple[str, Any]]:
        """What the next page has to send again."""
        return [(field.name, field.value()) for field in self if field.value()]


def both_acks(ack: ErpAck) -> dict[str, Any]:
    """What counts now, and the ack that conflicts with it or comes late."""
    if (
        ack.classification not in (Classification.CONFLICT, Classification.LATE)
        or ack.export is None
    ):
        return {}
    first = ack.export.acks.filter(classification=Classification.APPLIED).first()
    return {
        "export": ack.export,
        "export_status": export_badge(ack.export.status),
        "answers": [
            (gettext("Counts now"), first, first and ack_badge(first)),
            (gettext("This ack"), ack, ack_badge(ack)),
        ],
    }


def _label(name: str, ack: ErpAck) -> str:
    """What a decision is called for an ack. Raises RuleViolation: this decision is not possible."""
    if (text := offered(ack).get(name)) is None:
        raise RuleViolation(
            "DECIDED",
            gettext("This ack is “%(classification)s”. This decision is not possible.")
            % {"classification": ack.get_classification_display()},
        )
    return str(text)


def _decision(name: str, service: Callable[..., None]) -> ObjectAction[ErpAck]:
    """A decision that needs a reason only; its page says what it will change."""

    def preview(ack: ErpAck, actor: User) -> dict[str, Any]:
        decide = partial(service, ack.pk, actor=actor, reason="?")
        return {"items": ack_preview(ack, ack.export, decide), **both_acks(ack)}

    def carry_out(submitted: Submitted[ErpAck]) -> Done:
        reason = submitted.data["reason"]
        label = _label(name, submitted.obj)
        service(submitted.obj.pk, actor=submitted.actor, reason=reason)
        return Done(message=gettext("The decision was recorded."), history=f"{label}: {reason}")

    return ObjectAction(
        name=name,
        label=partial(_label, name),
        permission="exports.decide_erpack",
        form=ask_reason,
        sentences=[_("Effect of the ack %(file)s:")],
        facts=lambda ack: {"file": ack.filename},
        preview=preview,
        template="admin/exports/erpack/decide.html",
        service=carry_out,
        is_offered=lambda ack: name in offered(ack),
    )


def _assign(submitted: Submitted[ErpAck]) -> Done:
    """A first POST shows what the assignment does, a second one, `confirmed`, does it."""
    form, ack = submitted.form, submitted.obj
    assert isinstance(form, AssignForm)
    label = _label("assign", ack)
    if "confirmed" not in submitted.request.POST:
        page = confirmation(
            submitted.model_admin,
            submitted.request,
            title=label,
            original=ack,
            sentences=[gettext("Effect of the ack %(file)s:") % {"file": ack.filename}],
            items=form.ack_preview,
            hidden=[*form.entered, ("confirmed", "yes")],
            submit=gettext("Assign this ack"),
            back=submitted.request.path,
        )
        return Done(page=page)
    form.assign()
    history = f"{label}: {form.chosen}. {form.cleaned_data['reason']}"
    return Done(message=gettext("The decision was recorded."), history=history)


def _named(export: ErpExport) -> str:
    return gettext("%(file)s · order %(order)s · sent %(at)s") % {
        "file": export.filename,
        "order": export.draft_order,
        "at": localize(export.sent_at),
    }


ACTIONS: Final[Sequence[ObjectAction[ErpAck]]] = (
    ObjectAction(
        name="assign",
        label=partial(_label, "assign"),
        permission="exports.decide_erpack",
        form=AssignForm,
        sentences=[
            _(
                "Choose the export of this ack. The most similar file names come first. "
                "The next page shows the effect before anything changes."
            )
        ],
        service=_assign,
        is_offered=lambda ack: "assign" in offered(ack),
        is_primary=lambda ack: True,
    ),
    _decision("accept", review.accept),
    _decision("dismiss", review.dismiss),
)

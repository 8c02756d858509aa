"""The review of acks: a person accepts or dismisses an ack that does not speak for itself."""

from collections.abc import Callable
from typing import Any, Final
from uuid import UUID

from django import forms
from django.contrib import messages
from django.db.models import Q
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from django.utils.formats import localize

from accounts.models import User
from backoffice.badges import ack_badge, export_badge
from backoffice.forms import LongText, RadioList
from backoffice.pages import ReasonForm
from backoffice.scoping import ReadOnlyAdmin, person, require
from connectors.port import Ack
from exports.acks import review
from exports.acks.preview import ack_preview
from exports.models import ErpAck, ErpExport
from kernel.errors import RuleViolation

Classification = ErpAck.Classification

# What can be decided: the last part of the page's URL, and what its button says.
OFFERED: Final[dict[str, dict[str, str]]] = {
    Classification.CONFLICT: {
        "accept": "Let this answer count",
        "dismiss": "Keep the first answer",
    },
    Classification.LATE: {"accept": "Accept this ack", "dismiss": "Dismiss"},
    Classification.UNMATCHED: {"assign": "Assign to an export", "dismiss": "Dismiss"},
    Classification.MALFORMED: {"assign": "Say what it answers", "dismiss": "Dismiss"},
}


def offered(ack: ErpAck) -> dict[str, str]:
    """What can be decided about this ack."""
    decisions = OFFERED.get(ack.classification, {})
    is_acceptable = review.has_effect(ack, ack.export)
    return {name: label for name, label in decisions.items() if name != "accept" or is_acceptable}


class AssignForm(forms.Form):
    """Which export a file answers and, if the file was not understood, what it answers."""

    export = forms.ChoiceField(label="Sent and not answered", widget=RadioList, required=False)
    filename = forms.CharField(
        label="Or another export",
        required=False,
        widget=LongText,
        help_text="The name of its file, which must have gone to the same connection.",
    )
    outcome = forms.ChoiceField(
        label="The ERP has",
        widget=RadioList,
        choices=[("accepted", "accepted the order"), ("refused", "refused the order")],
    )
    erp_order_id = forms.CharField(
        label="ERP order number",
        max_length=200,
        required=False,
        help_text="If it has accepted the order and given it a number.",
    )
    error_code = forms.CharField(
        label="Error code", max_length=200, required=False, help_text="If it has refused the order."
    )
    message = forms.CharField(
        max_length=2000, required=False, widget=LongText, help_text="Why it has refused it."
    )
    reason = forms.CharField(
        max_length=500, widget=LongText, help_text="How you know it. It is kept, with your name."
    )

    def __init__(self, ack: ErpAck, data: Any = None) -> None:
        known = str(ack.export_id or "")
        candidates = {str(export.pk): _named(export) for export in review.candidates(ack)}
        initial = {"export": known}
        if ack.export and known not in candidates:
            initial = {"filename": ack.export.filename}
        super().__init__(data, initial=initial)
        self._ack = ack
        self._chosen: ErpExport | None = None
        field = self.fields["export"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = list(candidates.items())
        if not candidates:
            del self.fields["export"]
            self.fields["filename"].label = "Export"
        if ack.content:
            for name in ("outcome", "erp_order_id", "error_code", "message"):
                del self.fields[name]

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        key, filename = data.get("export"), data.get("filename", "").strip()
        if bool(key) == bool(filename):
            self.add_error("filename", "Choose one export, or enter the name of its file.")
        else:
            self._chosen = (
                ErpExport.objects.select_related("draft_order")
                .filter(erp_connection=self._ack.erp_connection_id)
                .filter(Q(id=key) if key else Q(filename=filename))
                .first()
            )
            if self._chosen is None:
                self.add_error("filename", "This connection has no export with this file name.")
        impossible = {"accepted": ("error_code", "message"), "refused": ("erp_order_id",)}
        for name in impossible.get(data.get("outcome", ""), ()):
            if data.get(name):
                self.add_error(name, "This contradicts what the ERP has done with the order.")
        return data

    @property
    def chosen(self) -> ErpExport:
        """The export, once the form is valid."""
        assert self._chosen is not None
        return self._chosen

    @property
    def answer(self) -> Ack | None:
        """What a person says that the file answers; None if the file says it itself."""
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


class AckDeciding(ReadOnlyAdmin):
    """The pages on which an answer is assigned, taken or dismissed."""

    def get_urls(self) -> list[URLPattern]:
        views = {
            "assign": self.assign_view,
            "accept": self.accept_view,
            "dismiss": self.dismiss_view,
        }
        return [
            *(
                path(
                    f"<uuid:pk>/{name}/",
                    self.admin_site.admin_view(view),
                    name=f"exports_erpack_{name}",
                )
                for name, view in views.items()
            ),
            *super().get_urls(),
        ]

    def accept_view(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        return self._decide(request, pk, "accept", review.accept)

    def dismiss_view(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        return self._decide(request, pk, "dismiss", review.dismiss)

    def _decide(
        self, request: HttpRequest, pk: UUID, name: str, decide: Callable[..., None]
    ) -> HttpResponse:
        require(request, "exports.decide_erpack")
        ack: ErpAck = self.get_or_404(request, pk)
        user = person(request)
        form = ReasonForm(request.POST if request.method == "POST" else None)
        try:
            label = _label(ack, name)
            if not form.is_valid():
                return self.confirmation(
                    request,
                    title=label,
                    template="admin/exports/erpack/decide.html",
                    original=ack,
                    paragraphs=[f"What happens with the answer {ack.filename}:"],
                    items=ack_preview(ack, ack.export, lambda: decide(pk, actor=user, reason="?")),
                    form=form,
                    submit=label,
                    back=_change_url(ack),
                    **both_acks(ack),
                )
            decide(pk, actor=user, reason=form.cleaned_data["reason"])
        except RuleViolation as e:
            self.message_user(request, e.message, messages.ERROR)
            return redirect(_change_url(ack))
        return self._done(request, ack, f"{label}: {form.cleaned_data['reason']}")

    def assign_view(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        """A first POST shows what the assignment does, a second one, `confirmed`, does it."""
        require(request, "exports.decide_erpack")
        ack: ErpAck = self.get_or_404(request, pk)
        try:
            label = _label(ack, "assign")
        except RuleViolation as e:
            self.message_user(request, e.message, messages.ERROR)
            return redirect(_change_url(ack))
        form = AssignForm(ack, request.POST if request.method == "POST" else None)
        if form.is_valid():
            try:
                if "confirmed" in request.POST:
                    _assign(ack, form, actor=person(request))
                    return self._done(
                        request, ack, f"{label}: {form.chosen}. {form.cleaned_data['reason']}"
                    )
                return self.confirmation(
                    request,
                    title=label,
                    original=ack,
                    paragraphs=[f"What happens with the answer {ack.filename}:"],
                    items=ack_preview(
                        ack, form.chosen, lambda: _assign(ack, form, actor=person(request))
                    ),
                    hidden=[*form.entered, ("confirmed", "yes")],
                    submit="Assign this answer",
                    back=request.path,
                )
            except RuleViolation as e:
                form.add_error(None, e.message)
        return self.confirmation(
            request,
            title=label,
            original=ack,
            paragraphs=[
                "Which export does this file answer? The most similar file names come first. "
                "What then happens is shown before anything is done."
            ],
            form=form,
            submit="Continue",
            back=_change_url(ack),
        )

    def _done(self, request: HttpRequest, ack: ErpAck, what: str) -> HttpResponseRedirect:
        self.log_change(request, ack, what)
        self.message_user(request, "The decision was recorded.", messages.SUCCESS)
        return redirect(_change_url(ack))


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
            ("What counts now", first, first and ack_badge(first)),
            ("What this answer says", ack, ack_badge(ack)),
        ],
    }


def _assign(ack: ErpAck, form: AssignForm, *, actor: User) -> None:
    review.assign(
        ack.pk,
        form.chosen.pk,
        actor=actor,
        reason=form.cleaned_data["reason"],
        answer=form.answer,
    )


def _label(ack: ErpAck, name: str) -> str:
    """What a decision is called for this ack. Raises RuleViolation: it is not to be decided so."""
    label = offered(ack).get(name)
    if label is None:
        raise RuleViolation(
            "DECIDED",
            f"This ack is “{ack.get_classification_display()}”: that cannot be decided about it.",
        )
    return label


def _named(export: ErpExport) -> str:
    return f"{export.filename} · order {export.draft_order} · sent {localize(export.sent_at)}"


def _change_url(ack: ErpAck) -> str:
    return reverse("admin:exports_erpack_change", args=[ack.pk])

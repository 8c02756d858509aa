"""Decisions about an export: try it again now, resolve it manually, cancel it."""

from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse

from backoffice.forms import LongText, RadioList
from backoffice.pages import ReasonForm
from backoffice.scoping import ReadOnlyAdmin, person, require
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

    def __init__(self, export: ErpExport, data: Any = None, *, may_push: bool) -> None:
        super().__init__(data)
        self._filename = export.filename
        choices = [(outcome.value, outcome.label) for outcome in possible_resolutions(export)]
        outcome = self.fields["outcome"]
        assert isinstance(outcome, forms.ChoiceField)
        outcome.choices = choices
        if len(choices) == 1:
            outcome.initial = choices[0][0]
        self.fields["confirmation"].help_text = f"To confirm, enter {export.filename}"
        if not may_push:
            del self.fields["push_again"]

    def clean_confirmation(self) -> str:
        if (name := str(self.cleaned_data["confirmation"]).strip()) != self._filename:
            raise forms.ValidationError("This is not the name of the file.")
        return name


class ExportDeciding(ReadOnlyAdmin):
    def get_urls(self) -> list[URLPattern]:
        views = {
            "cancel": self.cancel_view,
            "resolve": self.resolve_view,
            "deliver": self.deliver_view,
        }
        return [
            *(
                path(
                    f"<uuid:pk>/{name}/",
                    self.admin_site.admin_view(view),
                    name=f"exports_erpexport_{name}",
                )
                for name, view in views.items()
            ),
            *super().get_urls(),
        ]

    def deliver_view(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        require(request, "orders.push_draftorder")
        export: ErpExport = self.get_or_404(request, pk)
        back = reverse("admin:exports_erpexport_change", args=[pk])
        if request.method != "POST":
            return self.confirmation(
                request,
                title="Deliver again",
                original=export,
                paragraphs=[
                    f"A worker looks at the file {export.filename} of order {export.draft_order} "
                    "again now. What was sent is not sent twice, and nothing is overwritten.",
                ],
                submit="Deliver this export again",
                back=back,
            )
        try:
            deliver_again(pk, actor=person(request))
        except RuleViolation as e:
            self.message_user(request, e.message, messages.ERROR)
        else:
            self.message_user(request, "The export is delivered again now.", messages.SUCCESS)
        return redirect(back)

    def resolve_view(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        require(request, "exports.resolve_erpexport")
        export: ErpExport = self.get_or_404(request, pk)
        user = person(request)
        back = reverse("admin:exports_erpexport_change", args=[pk])
        form = ResolveForm(
            export,
            request.POST if request.method == "POST" else None,
            may_push=user.has_perm("orders.push_draftorder"),
        )
        if not possible_resolutions(export):
            self.message_user(request, "There is nothing to settle.", messages.WARNING)
            return redirect(back)
        if not form.is_valid():
            return self.confirmation(
                request,
                title="Settle by hand",
                original=export,
                paragraphs=[
                    f"The service cannot know for certain what became of the file "
                    f"{export.filename} of order {export.draft_order}. Ask the ERP admin, then "
                    "say it here: it counts as the truth from then on.",
                    "If the file was not delivered, or is given up, the order can be pushed "
                    "again. Should the ERP have the file after all, it has the order twice.",
                ],
                form=form,
                submit="Settle this export",
                back=back,
            )
        outcome = Resolution(form.cleaned_data["outcome"])
        try:
            resolve(
                pk,
                outcome,
                actor=user,
                reason=form.cleaned_data["reason"],
                push_again=form.cleaned_data.get("push_again", False),
            )
        except RuleViolation as e:
            self.message_user(request, e.message, messages.ERROR)
        else:
            self.log_change(request, export, f"Settled: {outcome.label}.")
            self.message_user(request, "The export was settled.", messages.SUCCESS)
        return redirect(back)

    def cancel_view(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        require(request, "exports.cancel_erpexport")
        export: ErpExport = self.get_or_404(request, pk)
        back = reverse("admin:exports_erpexport_change", args=[pk])
        form = ReasonForm(request.POST if request.method == "POST" else None)
        if not form.is_valid():
            return self.confirmation(
                request,
                title="Cancel export",
                original=export,
                paragraphs=[
                    f"The file {export.filename} of order {export.draft_order} is taken back "
                    "before anything reaches the ERP, if it is not on its way yet.",
                    "The order is then approved again: it can be edited, pushed or rejected.",
                ],
                form=form,
                submit="Cancel this export",
                back=back,
            )
        try:
            cancel_export(pk, actor=person(request), reason=form.cleaned_data["reason"])
        except RuleViolation as e:
            self.message_user(request, e.message, messages.ERROR)
        else:
            self.log_change(request, export, "Cancelled.")
            self.message_user(request, "The export was cancelled.", messages.SUCCESS)
        return redirect(back)

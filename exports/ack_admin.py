"""Admin of acks: what ERPs answered, what was made of it, and what a person decides about it."""

from collections.abc import Callable
from typing import Any, Final
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.db.models import Q, QuerySet
from django.db.models.functions import Left
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from django.utils.formats import localize
from django.utils.html import format_html
from django.utils.safestring import SafeString

from accounts.csv_admin import CsvAdmin
from accounts.models import User
from accounts.scoped_admin import (
    ConditionFilter,
    LongText,
    RadioList,
    ReadOnlyAdmin,
    ReasonForm,
    VisibleFieldListFilter,
    link,
    person,
    require,
)
from connectors.port import Ack
from exports import inbox
from exports.badges import export_badge, verdict_badge
from exports.consequences import consequences
from exports.models import ErpAck, ErpExport
from orderflow.badges import Tone, badge
from orders.errors import Refused

Verdict = ErpAck.Verdict

# What can be decided: the last part of the page's URL, and what its button says.
_OFFERED: Final[dict[str, dict[str, str]]] = {
    Verdict.CONFLICT: {"take": "Let this answer count", "dismiss": "Keep the first answer"},
    Verdict.LATE: {"dismiss": "Dismiss"},
    Verdict.UNMATCHED: {"assign": "Assign to an export", "dismiss": "Dismiss"},
    Verdict.MALFORMED: {"assign": "Say what it answers", "dismiss": "Dismiss"},
}
_EXPLAINED: Final[dict[str, str]] = {
    Verdict.WAITING: "Nothing to do: it is looked at again with every poll.",
    Verdict.CONFLICT: "The first answer counts until somebody decides; until then the order is "
    "not pushed again. Ask the ERP admin which answer is true.",
    Verdict.LATE: "It changes nothing here. But the ERP may have the order twice, for it has both "
    "files: ask the ERP admin, then dismiss this answer.",
    Verdict.UNMATCHED: "The file stays in the ack folder until somebody decides. If its name is "
    "mistyped, assign it to the export that it answers.",
    Verdict.MALFORMED: "Nothing was changed by it. Ask the ERP admin what the answer is, and to "
    "have the program that wrote it corrected.",
}

# Of the text of a file, on the page of its export.
_SHOWN: Final = 4000


class AckColumns:
    """What lists of acks have in common."""

    @admin.display(description="verdict", ordering="verdict")
    def verdict_badge(self, ack: ErpAck) -> SafeString:
        return verdict_badge(ack.verdict)

    @admin.display(description="says", ordering="is_accepted")
    def says(self, ack: ErpAck) -> SafeString:
        if ack.is_accepted is None:
            return badge("not understood", Tone.QUIET)
        if ack.is_accepted:
            label, tone, detail = "accepted", Tone.GOOD, ack.erp_order_id
        else:
            label, tone, detail = "refused", Tone.BAD, ack.error_code
        return format_html("{} <span>{}</span>", badge(label, tone), detail or "")


class AckInline(AckColumns, admin.TabularInline):  # type: ignore[type-arg]
    """The answers to an export, on its page."""

    model = ErpAck
    verbose_name_plural = "Answers of the ERP"
    fields = readonly_fields = ("file", "says", "verdict_badge", "seen_at", "text")
    can_delete = False
    ordering = ("seen_at", "id")

    def get_queryset(self, request: HttpRequest) -> QuerySet[ErpAck]:
        acks: QuerySet[ErpAck] = super().get_queryset(request)
        return acks.defer("raw").annotate(beginning=Left("raw", _SHOWN))

    def has_add_permission(self, request: HttpRequest, obj: ErpExport | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: ErpExport | None = None) -> bool:
        return False

    def file(self, ack: ErpAck) -> SafeString:
        return link("admin:exports_erpack_change", ack)

    @admin.display(description="content")
    def text(self, ack: Any) -> SafeString:
        return format_html(
            '<details><summary>Show</summary><pre class="payload">{}</pre></details>',
            ack.beginning or "empty",
        )


class WaitsForPerson(ConditionFilter):
    title = "waits for a person"
    parameter_name = "open"
    conditions = {"yes": ErpAck.OPEN}


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
        candidates = {str(export.pk): _named(export) for export in inbox.candidates(ack)}
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
        if ack.answer:
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


@admin.register(ErpAck)
class ErpAckAdmin(AckColumns, CsvAdmin, ReadOnlyAdmin):
    list_display = ("filename", "says", "verdict_badge", "order", "seen_at")
    list_filter = (
        WaitsForPerson,
        "verdict",
        ("erp_connection", VisibleFieldListFilter),
    )
    list_per_page = 50
    search_fields = ("filename", "export__draft_order__external_order_number", "erp_order_id")
    search_help_text = "File name, order number or ERP number"
    csv_columns = {
        "id": lambda ack: str(ack.pk),
        "connection": lambda ack: str(ack.erp_connection),
        "file name": lambda ack: ack.filename,
        "order": lambda ack: ack.export and str(ack.export.draft_order),
        "export": lambda ack: ack.export and ack.export.filename,
        "accepted": lambda ack: ack.is_accepted,
        "ERP order number": lambda ack: ack.erp_order_id,
        "error code": lambda ack: ack.error_code,
        "message": lambda ack: ack.message,
        "verdict": lambda ack: ack.verdict,
        "reason": lambda ack: ack.reason,
        "seen at": lambda ack: ack.seen_at,
        "processed by the ERP at": lambda ack: ack.processed_at,
        "decided by": lambda ack: ack.decided_by and str(ack.decided_by),
        "decided at": lambda ack: ack.decided_at,
    }
    fieldsets = (
        (None, {"fields": ("answered", "order", "connection", "seen_at")}),
        (
            "What the file says",
            {
                "fields": (
                    "says",
                    "erp_order_id",
                    "error_code",
                    "message",
                    "processed_at",
                    "content",
                )
            },
        ),
        ("Verdict", {"fields": ("reason", "decided_by", "decided_at")}),
        ("File", {"fields": ("filename", "size", "sha256", "moved_at")}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[ErpAck]:
        acks: QuerySet[ErpAck] = super().get_queryset(request)
        return acks.select_related(
            "export__draft_order", "erp_connection__org", "decided_by"
        ).defer("raw", "export__payload")

    def connection(self, ack: ErpAck) -> SafeString:
        return link("admin:connectors_erpconnection_change", ack.erp_connection)

    @admin.display(description="export")
    def answered(self, ack: ErpAck) -> str:
        if ack.export is None:
            return str(self.get_empty_value_display())
        return format_html(
            "{} {}",
            link("admin:exports_erpexport_change", ack.export),
            export_badge(ack.export.status),
        )

    @admin.display(ordering="export__draft_order__external_order_number")
    def order(self, ack: ErpAck) -> str:
        if ack.export is None:
            return str(self.get_empty_value_display())
        return link("admin:orders_draftorder_change", ack.export.draft_order)

    @admin.display(description="content")
    def content(self, ack: ErpAck) -> SafeString:
        return format_html('<pre class="payload">{}</pre>', ack.raw or "empty")

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        count = self.get_queryset(request).filter(ErpAck.OPEN).count()
        return super().changelist_view(request, {**(extra_context or {}), "open_count": count})

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: ErpAck | None = None,
    ) -> HttpResponse:
        if obj is not None:
            may_decide = person(request).has_perm("exports.decide_erpack")
            context.update(
                ack=obj,
                verdict=self.verdict_badge(obj),
                explanation=_EXPLAINED.get(obj.verdict, ""),
                decisions=[
                    (label, reverse(f"admin:exports_erpack_{name}", args=[obj.pk]))
                    for name, label in _OFFERED.get(obj.verdict, {}).items()
                    if may_decide
                ],
                **self._both_answers(obj),
            )
        return super().render_change_form(request, context, add, change, form_url, obj)

    def _both_answers(self, ack: ErpAck) -> dict[str, Any]:
        """What counts now, and the answer that contradicts it."""
        if ack.verdict != Verdict.CONFLICT or ack.export is None:
            return {}
        first = ack.export.acks.filter(verdict=Verdict.APPLIED).first()
        return {
            "export": ack.export,
            "export_status": export_badge(ack.export.status),
            "answers": [
                ("What counts now", first, first and self.says(first)),
                ("What this answer says", ack, self.says(ack)),
            ],
        }

    # Deciding.

    def get_urls(self) -> list[URLPattern]:
        views = {"assign": self.assign_view, "take": self.take_view, "dismiss": self.dismiss_view}
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

    def take_view(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        return self._decide(request, pk, "take", inbox.take)

    def dismiss_view(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        return self._decide(request, pk, "dismiss", inbox.dismiss)

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
                    items=consequences(ack, ack.export, lambda: decide(pk, actor=user, reason="?")),
                    form=form,
                    submit=label,
                    back=_change_url(ack),
                    **self._both_answers(ack),
                )
            decide(pk, actor=user, reason=form.cleaned_data["reason"])
        except Refused as e:
            self.message_user(request, e.message, messages.ERROR)
            return redirect(_change_url(ack))
        return self._done(request, ack, f"{label}: {form.cleaned_data['reason']}")

    def assign_view(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        """A first POST shows what the assignment does, a second one, `confirmed`, does it."""
        require(request, "exports.decide_erpack")
        ack: ErpAck = self.get_or_404(request, pk)
        try:
            label = _label(ack, "assign")
        except Refused as e:
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
                    items=consequences(
                        ack, form.chosen, lambda: _assign(ack, form, actor=person(request))
                    ),
                    hidden=[*form.entered, ("confirmed", "yes")],
                    submit="Assign this answer",
                    back=request.path,
                )
            except Refused as e:
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


def _assign(ack: ErpAck, form: AssignForm, *, actor: User) -> None:
    inbox.assign(
        ack.pk,
        form.chosen.pk,
        actor=actor,
        reason=form.cleaned_data["reason"],
        answer=form.answer,
    )


def _label(ack: ErpAck, name: str) -> str:
    """What a decision is called for this answer. Raises Refused: it is not to be decided so."""
    label = _OFFERED.get(ack.verdict, {}).get(name)
    if label is None:
        raise Refused(
            "DECIDED",
            f"This answer is “{ack.get_verdict_display()}”: that cannot be decided about it.",
        )
    return label


def _named(export: ErpExport) -> str:
    return f"{export.filename} · order {export.draft_order} · sent {localize(export.sent_at)}"


def _change_url(ack: ErpAck) -> str:
    return reverse("admin:exports_erpack_change", args=[ack.pk])

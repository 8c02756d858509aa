"""Admin of exports with their history. They are looked at, not edited."""

from typing import Any
from uuid import UUID

import msgspec
from django.apps import apps
from django.contrib import admin
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils.html import format_html, format_html_join
from django.utils.http import content_disposition_header
from django.utils.safestring import SafeString

from accounts.scoped_admin import (
    ConditionFilter,
    VisibleFieldListFilter,
    link,
    person,
)
from connectors.admin import pause_reason, reads_acks
from exports import workers
from exports.ack_admin import AckInline
from exports.badges import export_badge
from exports.deciding_admin import ExportDeciding
from exports.models import ErpAck, ErpExport, ErpExportEvent
from exports.settlement import possible_outcomes
from orderflow.badges import Tone, badge
from orderflow.db import db_now
from orderflow.durations import in_words

# The queue is a doorbell: running or deleting its rows by hand helps nobody.
for _model in apps.get_app_config("django_q").get_models():
    if admin.site.is_registered(_model):
        admin.site.unregister(_model)


class EventInline(admin.TabularInline):  # type: ignore[type-arg]
    model = ErpExportEvent
    verbose_name_plural = "Timeline"
    fields = ("at", "kind", "status", "by", "what")
    readonly_fields = ("by", "what")
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: ErpExport | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: ErpExport | None = None) -> bool:
        return False

    def by(self, event: ErpExportEvent) -> str:
        return str(event.actor) if event.actor else "system"

    @admin.display(description="details", empty_value="")
    def what(self, event: ErpExportEvent) -> SafeString:
        return format_html_join(
            "", "<div>{}: {}</div>", ((name, text) for name, text in event.detail.items() if text)
        )


class NeedsDecision(ConditionFilter):
    title = "needs a decision"
    parameter_name = "needs_decision"
    conditions = {"yes": ErpExport.NEEDS_DECISION}


class Overdue(ConditionFilter):
    title = "overdue"
    parameter_name = "overdue"
    conditions = {"yes": ErpExport.OVERDUE}


class PickedUp(ConditionFilter):
    title = "picked up"
    parameter_name = "picked_up"
    conditions = {
        "yes": Q(picked_up_at__isnull=False),
        "no": Q(status=ErpExport.Status.SENT, picked_up_at=None),
    }


@admin.register(ErpExport)
class ErpExportAdmin(ExportDeciding):
    list_display = (
        "draft_order",
        "status_badge",
        "erp_connection",
        "created_at",
        "sent_at",
        "filename",
    )
    list_filter = (
        "status",
        NeedsDecision,
        Overdue,
        PickedUp,
        ("erp_connection", VisibleFieldListFilter),
    )
    list_select_related = ("draft_order", "erp_connection__org")
    list_per_page = 50
    search_fields = ("filename", "draft_order__external_order_number", "erp_order_id")
    search_help_text = "File name, order number or ERP number"
    inlines = (AckInline, EventInline)
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "order",
                    "connection",
                    "erp_order_id",
                    ("created_at", "requested_by"),
                    ("sent_at", "sent_evidence"),
                    ("picked_up_at", "acked_at", "ack_due_at"),
                    ("attempts", "next_attempt_at"),
                )
            },
        ),
        (
            "File",
            {
                "fields": (
                    "filename",
                    "dropzone_path",
                    "staged_path",
                    "staged_in",
                    "payload_size",
                    "payload_sha256",
                    "export_format_version",
                    "export_storage_key",
                    "archived_at",
                )
            },
        ),
        ("Payload", {"fields": ("document",)}),
    )

    def get_inlines(self, request: HttpRequest, obj: ErpExport | None) -> Any:
        return self.inlines if obj and obj.acks.exists() else (EventInline,)

    @admin.display(description="status", ordering="status")
    def status_badge(self, export: ErpExport) -> SafeString:
        if export.needs_decision:
            badges = [badge("needs a decision", Tone.BAD)]
        else:
            badges = [export_badge(export.status)]
        if export.is_overdue:
            badges.append(badge("overdue", Tone.BAD))
        if export.status == ErpExport.Status.SENT and export.picked_up_at:
            badges.append(badge("picked up", Tone.GOOD))
        code = export.error_json.get("code", "") if export.error_json else ""
        return format_html(
            "{} <span>{}</span>", format_html_join(" ", "{}", ((b,) for b in badges)), code
        )

    def order(self, export: ErpExport) -> SafeString:
        return link("admin:orders_draftorder_change", export.draft_order)

    def connection(self, export: ErpExport) -> SafeString:
        return link("admin:connectors_erpconnection_change", export.erp_connection)

    @admin.display(description="staged at")
    def staged_in(self, export: ErpExport) -> str:
        if export.destination is None:
            return str(self.get_empty_value_display())
        return format_html_join(
            ", ", "{} {}", ((k, v) for k, v in export.destination.items() if v is not None)
        )

    @admin.display(description="document")
    def document(self, export: ErpExport) -> SafeString | str:
        if export.content is None:
            return "Cleared after its time; the archive has it."
        # Formats the text as it is: numbers are not read, so none can change.
        return format_html(
            '<pre class="payload">{}</pre>', msgspec.json.format(export.content, indent=2).decode()
        )

    def get_urls(self) -> list[URLPattern]:
        return [
            path(
                "<uuid:pk>/payload/",
                self.admin_site.admin_view(self.payload_view),
                name="exports_erpexport_payload",
            ),
            *super().get_urls(),
        ]

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: ErpExport | None = None,
    ) -> HttpResponse:
        if obj is not None:
            context["export"] = obj
            context["status"] = self.status_badge(obj)
            is_pending = obj.status == ErpExport.Status.PENDING
            user = person(request)
            context.update(_outlook(obj))
            context["is_cancellable"] = (
                is_pending and obj.staged_path is None and user.has_perm("exports.cancel_erpexport")
            )
            context["is_deliverable"] = (
                is_pending and obj.attempts > 0 and user.has_perm("orders.push_draftorder")
            )
            context["is_settleable"] = user.has_perm("exports.settle_erpexport") and bool(
                possible_outcomes(obj)
            )
        return super().render_change_form(request, context, add, change, form_url, obj)

    def payload_view(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        """The exact bytes, as a file."""
        export: ErpExport = self.get_or_404(request, pk)
        if export.content is None:
            raise Http404
        return HttpResponse(
            export.content,
            content_type="application/json",
            headers={"Content-Disposition": content_disposition_header(True, export.filename)},
        )


def _outlook(export: ErpExport) -> dict[str, Any]:
    """What the page says about how an export goes on, or how long it took."""
    connection = export.erp_connection
    outlook: dict[str, Any] = {
        "now": db_now(),
        "pause_reason": pause_reason(connection),
        "open_acks": export.acks.filter(ErpAck.OPEN),
    }
    if export.status == ErpExport.Status.PENDING:
        outlook["has_worker"] = workers.alive().exists()
    if export.status == ErpExport.Status.SENT:
        outlook["expects_answer"] = reads_acks(connection)
    if export.acked_at and export.sent_at:
        outlook["answered_after"] = in_words(export.acked_at - export.sent_at)
    return outlook

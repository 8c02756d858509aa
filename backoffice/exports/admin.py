"""The admin of exports: the page of one export with its history. Exports are not edited."""

from collections.abc import Iterator, Mapping
from typing import Any, Final
from uuid import UUID

from django.apps import apps
from django.contrib import admin
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.formats import localize
from django.utils.html import format_html, format_html_join
from django.utils.http import content_disposition_header
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from backoffice.acks.admin import AckInline
from backoffice.badges import outlook_badges
from backoffice.batches.admin import BatchAdmin, BatchItemAdmin
from backoffice.exports import lists
from backoffice.exports.decisions import ACTIONS
from backoffice.exports.failures import failures_view
from backoffice.filters import VisibleFieldListFilter
from backoffice.highlighting import highlighted
from backoffice.pages import Page, link
from backoffice.scoping import ReadOnlyAdmin
from connectors.port import media_type
from exports.models import Batch, BatchItem, ErpAck, ErpExport, ErpExportEvent
from exports.reporting.outlook import Circumstances, outlook
from kernel.durations import humanize
from orders.models import DraftOrder

admin.site.register(Batch, BatchAdmin)
admin.site.register(BatchItem, BatchItemAdmin)

# Names of the facts of an event that are not words themselves.
_FACTS: Final = {
    "ack": _("ack"),
    "dropzone": _("file in the dropzone"),
    "erp_code": _("ERP code"),
    "erp_order_id": _("ERP number"),
    "order_before": _("order status before"),
    "path": _("file"),
    "processed_at": _("processed by the ERP"),
    "tmp": _("written as"),
}
_VALUES: Final = {
    **dict(ErpExport.SentEvidence.choices),
    **dict(ErpAck.Classification.choices),
    **dict(DraftOrder.Status.choices),
}

# The queue only wakes workers. Its rows must not be run or deleted by hand.
for _model in apps.get_app_config("django_q").get_models():
    if admin.site.is_registered(_model):
        admin.site.unregister(_model)


def payload_view(
    model_admin: ReadOnlyAdmin[ErpExport], request: HttpRequest, pk: UUID
) -> HttpResponse:
    """The exact bytes, as a file."""
    export = model_admin.get_or_404(request, pk)
    if export.content is None:
        raise Http404
    return HttpResponse(
        export.content,
        content_type=media_type(export.filename),
        headers={"Content-Disposition": content_disposition_header(True, export.filename)},
    )


@admin.register(ErpExport)
class ErpExportAdmin(ReadOnlyAdmin[ErpExport]):
    pages = (
        Page(name="payload", route="<uuid:pk>/payload/", view=payload_view),
        Page(name="failures", route="failures/", view=failures_view),
    )
    object_actions = ACTIONS
    changelist_class = lists.ExportChangeList
    csv_columns = lists.CSV_COLUMNS
    list_display = (
        lists.order_and_file,
        lists.status_badge,
        "erp_connection",
        lists.pushed_and_sent,
    )
    list_filter = (
        "status",
        lists.NeedsDecision,
        lists.Failure,
        lists.Overdue,
        lists.PickedUp,
        "created_at",
        ("erp_connection", VisibleFieldListFilter),
        lists.ErrorCode,
    )
    list_select_related = (
        "draft_order",
        "erp_connection__org",
        "erp_connection__paused_by",
        "requested_by",
    )
    list_per_page = 50
    search_fields = ("filename", "draft_order__external_order_number", "erp_order_id")
    search_help_text = _("File name, order number or ERP number")
    inlines = (AckInline,)
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "order",
                    "connection",
                    "erp_order_id",
                    ("created_at", "pushed_by", "approver"),
                    ("sent_at", "sent_evidence"),
                    ("picked_up_at", "acked_at", "ack_due_at"),
                    ("attempts", "next_attempt_at"),
                )
            },
        ),
        (
            _("File"),
            {
                "fields": (
                    "filename",
                    "dropzone_path",
                    "staged_path",
                    "staged_in",
                    "payload_size",
                    "payload_sha256",
                    "approved_hash",
                    "export_format_version",
                    "export_storage_key",
                    "archived_at",
                )
            },
        ),
        (_("Payload"), {"fields": ("document",)}),
    )

    def get_inlines(self, request: HttpRequest, obj: ErpExport | None) -> Any:
        return self.inlines if obj and obj.acks.exists() else ()

    def order(self, export: ErpExport) -> SafeString:
        return link(export.draft_order)

    def connection(self, export: ErpExport) -> SafeString:
        return link(export.erp_connection)

    @admin.display(description=_("pushed by"))
    def pushed_by(self, export: ErpExport) -> str:
        # Not a link: the pages of people are for superusers.
        return str(export.requested_by or self.get_empty_value_display())

    @admin.display(description=_("approved by"))
    def approver(self, export: ErpExport) -> str:
        return str(export.approved_by or self.get_empty_value_display())

    @admin.display(description=_("staged in"))
    def staged_in(self, export: ErpExport) -> str:
        if export.destination is None:
            return str(self.get_empty_value_display())
        return format_html_join(
            ", ",
            "{} {}",
            ((k.replace("_", " "), v) for k, v in export.destination.items() if v is not None),
        )

    @admin.display(description=_("document"))
    def document(self, export: ErpExport) -> SafeString | str:
        if export.content is None:
            return _pruned(export)
        return format_html(
            '<pre class="payload" tabindex="0">{}</pre>', highlighted(export.content)
        )

    def get_queryset(self, request: HttpRequest) -> QuerySet[ErpExport]:
        return super().get_queryset(request).defer("payload", "erp_connection__config_encrypted")

    def object_context(self, request: HttpRequest, obj: ErpExport) -> dict[str, Any]:
        expected = outlook(obj, Circumstances())
        sees_events = request.user.has_perm("exports.view_erpexportevent")
        return {
            "export": obj,
            "status": outlook_badges(obj, expected),
            "outlook": expected,
            "ack_error": expected.expects_ack and obj.erp_connection.ack_error,
            "open_acks": obj.acks.filter(ErpAck.OPEN),
            "answered_after": obj.acked_at and obj.sent_at and humanize(obj.acked_at - obj.sent_at),
            "timeline": _timeline(obj) if sees_events else None,
        }


def _pruned(export: ErpExport) -> str:
    """Where a document is that was removed from the database."""
    if export.archive_pruned_at:
        return gettext("Removed on %(at)s, also from the archive.") % {
            "at": localize(export.archive_pruned_at)
        }
    return gettext("Removed on %(at)s. The archive still has it.") % {
        "at": localize(export.payload_pruned_at)
    }


def _timeline(export: ErpExport) -> Iterator[tuple[ErpExportEvent, str, Any, Any]]:
    """Each event, the time since the one before, its error, its other facts."""
    before = None
    for event in export.events.select_related("actor"):
        since = humanize(event.at - before) if before else ""
        is_error = "code" in event.detail and "message" in event.detail
        facts = [] if is_error else _facts(event.detail)
        yield event, since, event.detail if is_error else None, facts
        before = event.at


def _facts(detail: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The facts of an event, in words."""
    told = {
        name: ", ".join(value) if isinstance(value, list) else str(value)
        for name, value in detail.items()
        if value
    }
    return [(str(_FACTS.get(name, name)), _VALUES.get(text, text)) for name, text in told.items()]

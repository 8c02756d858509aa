"""The list of exports: its columns, its filters, its CSV."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.formats import localize
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from backoffice.badges import outlook_badges
from backoffice.filters import ConditionFilter
from backoffice.lists import BoundedChangeList
from connectors.errors import CATALOGUE
from exports.models import ErpExport
from exports.reporting.failures import OPEN_FAILURE, caused_by
from exports.reporting.outlook import Circumstances, outlook


class NeedsDecision(ConditionFilter):
    title = _("needs a decision")
    parameter_name = "needs_decision"
    conditions = {"yes": ErpExport.NEEDS_DECISION}


class Failure(ConditionFilter):
    title = _("failure")
    parameter_name = "failure"
    conditions = {"open": OPEN_FAILURE}


class Overdue(ConditionFilter):
    title = _("overdue")
    parameter_name = "overdue"
    conditions = {"yes": ErpExport.OVERDUE}


class PickedUp(ConditionFilter):
    title = _("picked up")
    parameter_name = "picked_up"
    conditions = {
        "yes": Q(picked_up_at__isnull=False),
        "no": Q(status=ErpExport.Status.SENT, picked_up_at=None),
    }


class ErrorCode(admin.SimpleListFilter):
    title = _("error")
    parameter_name = "error"
    template = "admin/closed_filter.html"

    def lookups(
        self, request: HttpRequest, model_admin: "admin.ModelAdmin[Any]"
    ) -> list[tuple[str, str]]:
        return [(code, code) for code in sorted(CATALOGUE)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        cause = self.value()
        return queryset.filter(caused_by(cause)) if cause else queryset


class ExportChangeList(BoundedChangeList):
    """Adds its `outlook` to each row that is shown."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        # The configurations say whether an ack is expected. CSV does not need them.
        self.result_list = self.result_list.defer(None).defer("payload")
        circumstances = Circumstances()
        for export in self.result_list:
            export.outlook = outlook(export, circumstances)


CSV_COLUMNS: Final[Mapping[str, Callable[[ErpExport], object]]] = {
    "id": lambda export: str(export.pk),
    "order": lambda export: export.draft_order.external_order_number,
    "connection": lambda export: str(export.erp_connection),
    "file name": lambda export: export.filename,
    "status": lambda export: export.status,
    "error code": lambda export: (export.error_json or {}).get("code"),
    "error": lambda export: (export.error_json or {}).get("message"),
    "ERP order number": lambda export: export.erp_order_id,
    "attempts": lambda export: export.attempts,
    "requested by": lambda export: export.requested_by and str(export.requested_by),
    "created at": lambda export: export.created_at,
    "sent at": lambda export: export.sent_at,
    "picked up at": lambda export: export.picked_up_at,
    "ack due at": lambda export: export.ack_due_at,
    "acknowledged at": lambda export: export.acked_at,
}


@admin.display(description=_("order, file"), ordering="draft_order__external_order_number")
def order_and_file(export: ErpExport) -> SafeString:
    return format_html('{} <span class="quiet">{}</span>', export.draft_order, export.filename)


@admin.display(description=_("pushed, sent"), ordering="created_at")
def pushed_and_sent(export: ErpExport) -> SafeString:
    return format_html(
        '{} <span class="quiet">{}</span>',
        localize(export.created_at),
        localize(export.sent_at) or "",
    )


@admin.display(description=_("status"), ordering="status")
def status_badge(export: Any) -> SafeString:
    # ExportChangeList has added the outlook to each row of the list.
    return format_html(
        '<span title="{}">{}</span>',
        export.outlook.text,
        outlook_badges(export, export.outlook),
    )

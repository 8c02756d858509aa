"""The admin of acks: their list, their page, and their rows on the page of an export."""

from functools import cache
from typing import Any, Final

from django.contrib import admin
from django.db.models import QuerySet
from django.db.models.functions import Left
from django.http import HttpRequest, HttpResponse
from django.utils.formats import localize
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from backoffice import badges
from backoffice.acks.review import ACTIONS, both_acks
from backoffice.filters import ConditionFilter, VisibleFieldListFilter
from backoffice.forms import Inline
from backoffice.pages import link
from backoffice.scoping import ReadOnlyAdmin
from backoffice.texts import Text
from exports.models import ErpAck, ErpExport

Classification = ErpAck.Classification

_EXPLAINED: Final[dict[str, Text]] = {
    Classification.WAITING: _("Nothing to do: the ack is checked again at the next poll."),
    Classification.CONFLICT: _(
        "The first ack counts until you decide. Ask the ERP team which ack is true. "
        "Until then the order is not pushed again."
    ),
    Classification.LATE: _(
        "This ack has changed nothing yet. If the ERP has accepted this export, it may have the "
        "order twice: ask the ERP team. If only this export counts, cancel or resolve the other "
        "one, then accept this ack. Otherwise dismiss it."
    ),
    Classification.UNMATCHED: _(
        "The file stays in the ack folder until you decide. If its name is misspelt, assign it to "
        "its export."
    ),
    Classification.MALFORMED: _(
        "This file has changed nothing. Ask the ERP team what it says, and to fix the program "
        "that wrote it."
    ),
}

# Of the text of a file, on the page of its export.
_SHOWN: Final = 4000


@admin.display(description=_("classification"), ordering="classification")
def _verdict_badge(ack: ErpAck) -> SafeString:
    return badges.classification_badge(ack.classification)


@admin.display(description=_("says"), ordering="is_accepted")
def _says(ack: ErpAck) -> SafeString:
    return badges.ack_badge(ack)


class AckInline(Inline):
    """The acks of an export, on its page."""

    says, classification_badge = staticmethod(_says), staticmethod(_verdict_badge)
    model = ErpAck
    verbose_name_plural = _("Acks")
    fields = readonly_fields = ("file", "says", "classification_badge", "seen_at", "text")
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
        return link(ack)

    @admin.display(description="content")
    def text(self, ack: Any) -> SafeString:
        return format_html(
            '<details><summary>Show</summary><pre class="payload">{}</pre></details>',
            ack.beginning or (gettext("removed") if ack.raw_pruned_at else gettext("empty")),
        )


class WaitsForPerson(ConditionFilter):
    title = _("to review")
    parameter_name = "open"
    conditions = {"yes": ErpAck.OPEN}


@admin.register(ErpAck)
class ErpAckAdmin(ReadOnlyAdmin[ErpAck]):
    says, classification_badge = staticmethod(_says), staticmethod(_verdict_badge)
    object_actions = ACTIONS
    list_display = ("filename", "says", "classification_badge", "order", "seen_at")
    list_filter = (
        WaitsForPerson,
        "classification",
        ("erp_connection", VisibleFieldListFilter),
    )
    list_per_page = 50
    search_fields = ("filename", "export__draft_order__external_order_number", "erp_order_id")
    search_help_text = _("File name, order number or ERP number")
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
        "classification": lambda ack: ack.classification,
        "reason": lambda ack: ack.reason,
        "seen at": lambda ack: ack.seen_at,
        "processed by the ERP at": lambda ack: ack.processed_at,
        "decided by": lambda ack: ack.decided_by and str(ack.decided_by),
        "decided at": lambda ack: ack.decided_at,
    }
    fieldsets = (
        (None, {"fields": ("answered", "order", "connection", "seen_at")}),
        (
            _("Content of the ack"),
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
        (_("Classification"), {"fields": ("reason", "decider", "decided_at")}),
        (_("File"), {"fields": ("filename", "size", "sha256", "moved_at")}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[ErpAck]:
        acks = super().get_queryset(request).defer("raw", "export__payload")
        return acks.select_related("export__draft_order", "erp_connection__org", "decided_by")

    def connection(self, ack: ErpAck) -> SafeString:
        return link(ack.erp_connection)

    @admin.display(description=_("export"))
    def answered(self, ack: ErpAck) -> str:
        if ack.export is None:
            return str(self.get_empty_value_display())
        return format_html(
            "{} {}",
            link(ack.export),
            badges.export_badge(ack.export.status),
        )

    @admin.display(ordering="export__draft_order__external_order_number")
    def order(self, ack: ErpAck) -> str:
        if ack.export is None:
            return str(self.get_empty_value_display())
        return link(ack.export.draft_order)

    @admin.display(description=_("decided by"))
    def decider(self, ack: ErpAck) -> str:
        # Not a link: the pages of people are for superusers.
        return str(ack.decided_by or self.get_empty_value_display())

    @admin.display(description="content")
    def content(self, ack: ErpAck) -> SafeString:
        if ack.raw_pruned_at:
            return format_html(gettext("Removed on {}."), localize(ack.raw_pruned_at))
        return format_html('<pre class="payload">{}</pre>', ack.raw or gettext("empty"))

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        # Counted only when the page is drawn: the address may be invalid.
        count = cache(self.get_queryset(request).filter(ErpAck.OPEN).count)
        return super().changelist_view(request, {**(extra_context or {}), "open_count": count})

    def object_context(self, request: HttpRequest, obj: ErpAck) -> dict[str, Any]:
        return {
            "ack": obj,
            "classification": self.classification_badge(obj),
            "explanation": _EXPLAINED.get(obj.classification, ""),
            **both_acks(obj),
        }

"""Admin of acks: what ERPs answered, and what was made of it."""

from django.contrib import admin
from django.utils.html import format_html
from django.utils.safestring import SafeString

from accounts.scoped_admin import ReadOnlyAdmin, link
from exports.badges import verdict_badge
from exports.models import ErpAck


@admin.register(ErpAck)
class ErpAckAdmin(ReadOnlyAdmin):
    list_display = ("filename", "verdict_badge", "export", "erp_connection", "seen_at")
    list_filter = ("verdict", ("erp_connection", admin.RelatedOnlyFieldListFilter))
    list_select_related = ("export", "erp_connection__org")
    list_per_page = 50
    search_fields = ("filename",)
    search_help_text = "File name"
    fields = (
        "filename",
        "verdict_badge",
        "reason",
        "connection",
        "answered",
        "seen_at",
        "decided_at",
        "decided_by",
        "moved_at",
        "sha256",
        "content",
    )

    @admin.display(description="verdict", ordering="verdict")
    def verdict_badge(self, ack: ErpAck) -> SafeString:
        return verdict_badge(ack.verdict)

    def connection(self, ack: ErpAck) -> SafeString:
        return link("admin:connectors_erpconnection_change", ack.erp_connection)

    @admin.display(description="export")
    def answered(self, ack: ErpAck) -> str:
        if ack.export is None:
            return str(self.get_empty_value_display())
        return link("admin:exports_erpexport_change", ack.export)

    @admin.display(description="content")
    def content(self, ack: ErpAck) -> SafeString:
        return format_html('<pre class="payload">{}</pre>', ack.raw)

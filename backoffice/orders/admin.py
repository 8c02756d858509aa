"""The admin of orders, customers and source documents: what their pages show."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from accounts.scoping import only_org
from backoffice.actions import Button
from backoffice.badges import order_badge, outlook_badges
from backoffice.filters import VisibleFieldListFilter
from backoffice.highlighting import highlighted
from backoffice.orders import lists
from backoffice.orders.decisions import decide_url, decide_view, list_action
from backoffice.orders.editing import DraftOrderForm, LineInline
from backoffice.pages import Page, draw, url_of
from backoffice.permissions import person
from backoffice.scoping import OrgScopedAdmin
from exports.models import ErpExport, ErpExportEvent
from exports.pushing.actions import DECISIONS
from exports.pushing.rendering import preview_order
from exports.reporting.outlook import Circumstances, outlook
from kernel.errors import RuleViolation
from kernel.limits import MAX_FORM_LINES
from orders import approval
from orders.content import blocking_reasons, content_hash, warnings
from orders.models import Customer, DraftOrder, DraftOrderLine, SourceDocument

Status = DraftOrder.Status


@admin.register(Customer)
class CustomerAdmin(OrgScopedAdmin[Customer]):
    fields = ("org", "erp_customer_number", "name")
    list_display = ("name", "erp_customer_number", "organisation")
    list_filter = (
        ("org", VisibleFieldListFilter),
        ("erp_customer_number", admin.EmptyFieldListFilter),
    )
    list_select_related = ("org",)
    search_fields = ("name", "erp_customer_number")

    def save_model(
        self, request: HttpRequest, obj: Customer, form: "forms.ModelForm[Any]", change: bool
    ) -> None:
        super().save_model(request, obj, form, change)
        approval.customer_changed(obj)


@admin.register(SourceDocument)
class SourceDocumentAdmin(OrgScopedAdmin[SourceDocument]):
    list_display = ("file_name", "organisation", "created_at")
    list_filter = (("org", VisibleFieldListFilter),)
    list_select_related = ("org",)
    search_fields = ("file_name", "=sha256")

    def has_change_permission(
        self, request: HttpRequest, obj: SourceDocument | None = None
    ) -> bool:
        return False


def preview_view(
    model_admin: OrgScopedAdmin[DraftOrder], request: HttpRequest, pk: UUID
) -> HttpResponse:
    """The file that a push of the order would make now."""
    order = model_admin.get_or_404(request, pk)
    try:
        document = preview_order(pk)
    except RuleViolation as e:
        model_admin.message_user(request, e.message, messages.WARNING)
        return redirect(url_of(order))
    return draw(
        model_admin,
        request,
        "admin/orders/draftorder/preview.html",
        title=gettext("Preview of the export"),
        original=order,
        size=len(document.content),
        document=highlighted(document.content),
    )


@admin.register(DraftOrder)
class DraftOrderAdmin(OrgScopedAdmin[DraftOrder]):
    pages = (
        Page(name="preview", route="<uuid:pk>/preview/", view=preview_view),
        Page(name="decide", route="decide/<slug:name>/", view=decide_view),
    )
    actions = tuple(list_action(decision) for decision in DECISIONS.values())
    changelist_class = lists.OrderList
    csv_columns = lists.CSV_COLUMNS
    list_display = (
        lists.number,
        "customer",
        lists.total,
        lists.status_and_reasons,
        lists.latest_export,
        "created_at",
    )
    list_filter = (
        "status",
        lists.HasFailedExport,
        "created_at",
        ("org", VisibleFieldListFilter),
    )
    list_select_related = ("customer", "org")
    list_per_page = 50
    search_fields = (
        "external_order_number",
        "customer__name",
        "customer_name",
        "customer__erp_customer_number",
    )
    search_help_text = _("Order number, customer name or customer number")
    form = DraftOrderForm
    inlines = (LineInline,)
    fields = (
        "org",
        "customer",
        "customer_name",
        "external_order_number",
        ("order_date", "requested_delivery_date"),
        "currency",
        "source_document",
        "notes",
    )

    def has_approve_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("orders.approve_draftorder")

    def has_push_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("orders.push_draftorder")

    def get_list_display(self, request: HttpRequest) -> Any:
        columns = super().get_list_display(request)
        if only_org(request.user):
            return columns
        return [lists.number_in_org if name is lists.number else name for name in columns]

    def object_context(self, request: HttpRequest, obj: DraftOrder) -> dict[str, Any]:
        order = obj
        is_waiting = order.status in (Status.NEEDS_REVIEW, Status.READY)
        is_stale = (
            order.status in (Status.APPROVED, Status.ERROR)
            and content_hash(order) != order.approved_hash
        )
        exports = order.exports.select_related("erp_connection__paused_by")
        export = exports.order_by(*ErpExport.LIVE_FIRST).first()
        expected = export and outlook(export, Circumstances())
        return {
            "order": order,
            "order_badge": order_badge(order),
            "reasons": blocking_reasons(order) if is_waiting else [],
            "warnings": warnings(order) if is_waiting else [],
            "is_stale": is_stale,
            "is_editable": order.status in DraftOrder.EDITABLE,
            "is_too_long": order.line_count > MAX_FORM_LINES,
            "most_lines": MAX_FORM_LINES,
            "has_preview": order.status == Status.APPROVED and not is_stale,
            "export": export,
            "export_badge": export and expected and outlook_badges(export, expected),
            "outlook": expected,
            **_late_acceptance(order, export),
            "buttons": _buttons(order, person(request), is_stale=is_stale),
        }

    def has_change_permission(self, request: HttpRequest, obj: DraftOrder | None = None) -> bool:
        # A late form reaches the service, which says why it is not allowed.
        is_late = request.method == "POST"
        is_editable = (
            obj is None
            or is_late
            or (obj.status in DraftOrder.EDITABLE and obj.line_count <= MAX_FORM_LINES)
        )
        return is_editable and super().has_change_permission(request, obj)

    def get_form(
        self,
        request: HttpRequest,
        obj: DraftOrder | None = None,
        change: bool = False,
        **kwargs: Any,
    ) -> "type[forms.ModelForm[Any]]":
        form = super().get_form(request, obj, change=change, **kwargs)
        for name in ("customer", "source_document"):
            field = form.base_fields.get(name)
            if obj is not None and isinstance(field, forms.ModelChoiceField):
                assert field.queryset is not None
                field.queryset = field.queryset.filter(org=obj.org_id)
        return form

    def save_model(
        self, request: HttpRequest, obj: DraftOrder, form: "forms.ModelForm[Any]", change: bool
    ) -> None:
        if not change:
            super().save_model(request, obj, form, change)

    def save_related(
        self,
        request: HttpRequest,
        form: "forms.ModelForm[Any]",
        formsets: Sequence[Any],
        change: bool,
    ) -> None:
        order: DraftOrder = form.instance
        if not change:
            super().save_related(request, form, formsets, change)
            approval.recompute_readiness(order.pk)
        elif form.has_changed() or any(formset.has_changed() for formset in formsets):
            with approval.editing(order.pk, actor=person(request)):
                # The form must not write the status or the approval.
                order.save(update_fields=form.changed_data)
                super().save_related(request, form, formsets, change)
        else:
            # Writes nothing. The history of the object needs saved formsets.
            super().save_related(request, form, formsets, change)

    def save_formset(
        self, request: HttpRequest, form: "forms.ModelForm[Any]", formset: Any, change: bool
    ) -> None:
        # Lines may swap numbers or reuse those of deleted lines: free the numbers first.
        changed = [line.instance.pk for line in formset.initial_forms if line.has_changed()]
        DraftOrderLine.objects.filter(pk__in=changed).delete()
        super().save_formset(request, form, formset, change)


def _buttons(order: DraftOrder, actor: User, *, is_stale: bool) -> list[Button]:
    return [
        Button(
            label=decision.name.capitalize(),
            url=decide_url(decision, order),
            is_primary=decision.name != "reject",
        )
        for decision in DECISIONS.values()
        if (order.status in decision.offered or (is_stale and decision.name == "approve"))
        and actor.has_perm(decision.permission)
    ]


def _late_acceptance(order: DraftOrder, export: ErpExport | None) -> dict[str, Any]:
    """The status before a late ack accepted the order; whether it differs from what was sent."""
    if export is None or export.status != ErpExport.Status.ACKED:
        return {}
    late = export.events.filter(
        kind=ErpExportEvent.Kind.ACKED, detail__has_key="order_before"
    ).last()
    return {
        "order_before": late and Status(late.detail["order_before"]).label,
        "is_not_as_sent": bool(export.approved_hash)
        and export.approved_hash != content_hash(order),
    }

"""Admin of orders: edit, approve, push, retry, reject. The rules are the services'."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.db import models
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from django.utils.safestring import SafeString

from accounts.scoped_admin import OrgScopedAdmin, VisibleFieldListFilter, person, require
from exports.badges import export_badge
from exports.decisions import DECISIONS, Decision, Preview
from exports.models import ErpExport
from orderflow.badges import Tone, badge
from orders import workflow
from orders.content import blocking_reasons, content_hash, warnings
from orders.errors import Refused
from orders.models import Customer, DraftOrder, DraftOrderLine, SourceDocument

Status = DraftOrder.Status

MAX_ORDERS = 1000
_REFUSALS_SHOWN = 10

_TONES = {
    Status.NEEDS_REVIEW: Tone.QUIET,
    Status.READY: Tone.BUSY,
    Status.APPROVED: Tone.BUSY,
    Status.PUSHING: Tone.BUSY,
    Status.PUSHED: Tone.GOOD,
    Status.ERROR: Tone.BAD,
    Status.REJECTED: Tone.QUIET,
}


class PlainDecimalField(forms.DecimalField):
    def prepare_value(self, value: Any) -> Any:
        return _plain(value) if isinstance(value, Decimal) else value


class DraftOrderForm(forms.ModelForm):  # type: ignore[type-arg]
    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        org = data.get("org")
        for name in ("customer", "source_document"):
            if org and data.get(name) and data[name].org_id != org.pk:
                self.add_error(name, f"Choose one of {org}.")
        return data


class LineInline(admin.TabularInline):  # type: ignore[type-arg]
    model = DraftOrderLine
    extra = 1
    formfield_overrides = {models.DecimalField: {"form_class": PlainDecimalField}}
    fields = (
        "line_no",
        "internal_sku",
        "qty",
        "uom",
        "unit_price",
        "currency",
        "customer_sku_raw",
        "description",
    )
    readonly_fields = ("plain_qty", "plain_unit_price")

    def get_fields(self, request: HttpRequest, obj: DraftOrder | None = None) -> Any:
        order_admin = self.admin_site.get_model_admin(DraftOrder)
        if obj is None or order_admin.has_change_permission(request, obj):
            return self.fields
        shown = {"qty": "plain_qty", "unit_price": "plain_unit_price"}
        return [shown.get(name, name) for name in self.fields]

    @admin.display(description="quantity")
    def plain_qty(self, line: DraftOrderLine) -> str:
        return _plain(line.qty)

    @admin.display(description="unit price")
    def plain_unit_price(self, line: DraftOrderLine) -> str:
        return "-" if line.unit_price is None else _plain(line.unit_price)


@admin.register(Customer)
class CustomerAdmin(OrgScopedAdmin):
    fields = ("org", "erp_customer_number", "name")
    list_display = ("name", "erp_customer_number", "org")
    list_filter = (
        ("org", admin.RelatedOnlyFieldListFilter),
        ("erp_customer_number", admin.EmptyFieldListFilter),
    )
    list_select_related = ("org",)
    search_fields = ("name", "erp_customer_number")

    def save_model(
        self, request: HttpRequest, obj: Customer, form: "forms.ModelForm[Any]", change: bool
    ) -> None:
        super().save_model(request, obj, form, change)
        workflow.customer_changed(obj)


@admin.register(SourceDocument)
class SourceDocumentAdmin(OrgScopedAdmin):
    list_display = ("file_name", "org", "created_at")
    list_filter = (("org", admin.RelatedOnlyFieldListFilter),)
    list_select_related = ("org",)
    search_fields = ("file_name", "=sha256")

    def has_change_permission(
        self, request: HttpRequest, obj: SourceDocument | None = None
    ) -> bool:
        return False


@admin.register(DraftOrder)
class DraftOrderAdmin(OrgScopedAdmin):
    form = DraftOrderForm
    inlines = (LineInline,)
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "org",
                    "customer",
                    "customer_name",
                    "external_order_number",
                    ("order_date", "requested_delivery_date"),
                    "currency",
                    "source_document",
                    "notes",
                )
            },
        ),
    )
    list_display = ("number", "customer", "status_badge", "created_at", "latest_export")
    list_filter = ("status", ("org", VisibleFieldListFilter))
    list_select_related = ("customer",)
    list_per_page = 50
    search_fields = (
        "external_order_number",
        "customer__name",
        "customer_name",
        "customer__erp_customer_number",
    )
    search_help_text = "Order number, customer name or customer number"
    actions = ("approve_orders", "push_orders", "retry_orders", "reject_orders")

    def get_queryset(self, request: HttpRequest) -> QuerySet[DraftOrder]:
        latest = ErpExport.objects.filter(draft_order=OuterRef("pk")).order_by("-created_at", "-id")
        orders: QuerySet[DraftOrder] = super().get_queryset(request)
        return orders.annotate(latest_export_status=Subquery(latest.values("status")[:1]))

    @admin.display(description="number", ordering="external_order_number")
    def number(self, order: DraftOrder) -> str:
        return str(order)

    @admin.display(description="status", ordering="status")
    def status_badge(self, order: DraftOrder) -> SafeString:
        return badge(order.get_status_display(), _TONES[Status(order.status)])

    @admin.display(description="latest export", ordering="latest_export_status", empty_value="-")
    def latest_export(self, order: Any) -> SafeString | None:
        status = order.latest_export_status
        return status and export_badge(status)

    # Editing.

    def has_change_permission(self, request: HttpRequest, obj: DraftOrder | None = None) -> bool:
        # A form that comes too late is refused by the service, which says why.
        is_late = request.method == "POST"
        is_editable = obj is None or obj.status in DraftOrder.EDITABLE or is_late
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

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except Refused as e:
            # The order went on its way between the opening and the saving of the form.
            self.message_user(request, e.message, messages.ERROR)
            return redirect("admin:orders_draftorder_change", object_id)

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
            workflow.recompute_readiness(order.pk)
        elif form.has_changed() or any(formset.has_changed() for formset in formsets):
            with workflow.editing(order.pk):
                # The status and the approval are not the form's to write.
                order.save(update_fields=form.changed_data)
                super().save_related(request, form, formsets, change)
        else:
            # Writes nothing, but the formsets must be saved for the history to be told so.
            super().save_related(request, form, formsets, change)

    def save_formset(
        self, request: HttpRequest, form: "forms.ModelForm[Any]", formset: Any, change: bool
    ) -> None:
        # Lines may swap numbers, or take those of deleted ones: the numbers must be free first.
        changed = [line.instance.pk for line in formset.initial_forms if line.has_changed()]
        DraftOrderLine.objects.filter(pk__in=changed).delete()
        super().save_formset(request, form, formset, change)

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: DraftOrder | None = None,
    ) -> HttpResponse:
        if obj is not None:
            context.update(self._state(request, obj.pk))
        return super().render_change_form(request, context, add, change, form_url, obj)

    def _state(self, request: HttpRequest, order_id: UUID) -> dict[str, Any]:
        """What the page says about an order beside its form."""
        # Read again: a form that was refused has already changed the object.
        order = DraftOrder.objects.select_related("customer", "approved_by").get(pk=order_id)
        is_waiting = order.status in (Status.NEEDS_REVIEW, Status.READY)
        is_stale = (
            order.status in (Status.APPROVED, Status.ERROR)
            and content_hash(order) != order.approved_hash
        )
        latest = order.exports.order_by("-created_at", "-id").first()
        return {
            "order": order,
            "order_badge": self.status_badge(order),
            "reasons": blocking_reasons(order) if is_waiting else [],
            "warnings": warnings(order) if is_waiting else [],
            "is_stale": is_stale,
            "is_editable": order.status in DraftOrder.EDITABLE,
            "export": latest,
            "export_badge": latest and export_badge(latest.status),
            "decisions": [
                (decision, self._decide_url(decision, order))
                for decision in DECISIONS.values()
                if (order.status in decision.offered or (is_stale and decision.name == "approve"))
                and person(request).has_perm(decision.permission)
            ],
        }

    # Deciding.

    def has_approve_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("orders.approve_draftorder")

    def has_push_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("orders.push_draftorder")

    @admin.action(description="Approve selected orders", permissions=["approve"])
    def approve_orders(
        self, request: HttpRequest, queryset: QuerySet[DraftOrder]
    ) -> HttpResponse | None:
        return self._confirm_many(request, queryset, DECISIONS["approve"])

    @admin.action(description="Push selected orders", permissions=["push"])
    def push_orders(
        self, request: HttpRequest, queryset: QuerySet[DraftOrder]
    ) -> HttpResponse | None:
        return self._confirm_many(request, queryset, DECISIONS["push"])

    @admin.action(description="Retry selected orders", permissions=["push"])
    def retry_orders(
        self, request: HttpRequest, queryset: QuerySet[DraftOrder]
    ) -> HttpResponse | None:
        return self._confirm_many(request, queryset, DECISIONS["retry"])

    @admin.action(description="Reject selected orders", permissions=["approve"])
    def reject_orders(
        self, request: HttpRequest, queryset: QuerySet[DraftOrder]
    ) -> HttpResponse | None:
        return self._confirm_many(request, queryset, DECISIONS["reject"])

    def get_urls(self) -> list[URLPattern]:
        return [
            path(
                "decide/<slug:name>/",
                self.admin_site.admin_view(self.decide_view),
                name="orders_draftorder_decide",
            ),
            *super().get_urls(),
        ]

    def decide_view(self, request: HttpRequest, name: str) -> HttpResponse:
        """GET ?order=<id> shows what a decision would do to one order; POST carries it out.

        POST: `orders` are ids, `confirm_warnings` takes those with warnings too, `back` says
        whether to return to the order or to the list, with its `filters`.
        """
        if (decision := DECISIONS.get(name)) is None:
            raise Http404
        require(request, decision.permission)
        is_post = request.method == "POST"
        try:
            ids = [
                UUID(text)
                for text in (
                    request.POST.get("orders", "").split()
                    if is_post
                    else request.GET.getlist("order")
                )
            ]
        except ValueError as e:
            raise Http404 from e
        orders = self.get_queryset(request).filter(pk__in=ids[:MAX_ORDERS])
        if not orders:
            raise Http404
        if not is_post:
            return self._confirm(request, orders, decision, is_one=True)
        return self._carry_out(request, orders, decision)

    def _confirm_many(
        self, request: HttpRequest, orders: QuerySet[DraftOrder], decision: Decision
    ) -> HttpResponse | None:
        if orders.count() > MAX_ORDERS:
            self.message_user(
                request,
                f"Choose at most {MAX_ORDERS:,} orders at a time, with the filters of the list.",
                messages.ERROR,
            )
            return None
        return self._confirm(request, orders, decision)

    def _confirm(
        self,
        request: HttpRequest,
        orders: QuerySet[DraftOrder],
        decision: Decision,
        *,
        is_one: bool = False,
    ) -> HttpResponse:
        """The page that says which orders a decision will change and which not, and why."""
        orders = orders.order_by("created_at", "id")
        preview = Preview.of(decision, orders, actor=person(request))
        possible = len(preview.will) + len(preview.needs_confirmation)
        one = orders[0] if is_one else None
        return self.confirmation(
            request,
            title=f"{decision.name.capitalize()} order{'' if one else 's'}",
            template="admin/orders/draftorder/decide.html",
            paragraphs=[decision.effect],
            decision=decision,
            preview=preview,
            original=one,
            action=reverse("admin:orders_draftorder_decide", args=[decision.name]),
            hidden=[
                ("orders", " ".join(str(order.pk) for order in orders)),
                ("back", "order" if one else "list"),
                ("filters", "" if one else request.GET.urlencode()),
            ],
            submit=decision.name.capitalize() if possible else "",
            back=self._back_url(request, one),
        )

    def _carry_out(
        self, request: HttpRequest, orders: QuerySet[DraftOrder], decision: Decision
    ) -> HttpResponseRedirect:
        is_confirmed = "confirm_warnings" in request.POST
        done: list[DraftOrder] = []
        refused: list[tuple[DraftOrder, Refused]] = []
        for order in orders.order_by("created_at", "id"):
            try:
                decision.carry_out(order.pk, person(request), is_confirmed)
            except Refused as e:
                refused.append((order, e))
            else:
                done.append(order)
                self.log_change(request, order, f"{decision.done.capitalize()}.")
        if len(done) == 1:
            self.message_user(request, f"Order {done[0]} was {decision.done}.", messages.SUCCESS)
        elif done:
            self.message_user(
                request, f"{len(done):,} orders were {decision.done}.", messages.SUCCESS
            )
        for order, refusal in refused[:_REFUSALS_SHOWN]:
            self.message_user(
                request, f"Order {order} was skipped. {refusal.message}", messages.WARNING
            )
        if (more := len(refused) - _REFUSALS_SHOWN) > 0:
            self.message_user(request, f"{more:,} more orders were skipped.", messages.WARNING)
        is_one = request.POST.get("back") == "order"
        return redirect(self._back_url(request, orders[0] if is_one else None))

    def _back_url(self, request: HttpRequest, order: DraftOrder | None) -> str:
        if order is not None:
            return reverse("admin:orders_draftorder_change", args=[order.pk])
        filters = request.POST.get("filters") or request.GET.urlencode()
        return f"{reverse('admin:orders_draftorder_changelist')}{filters and f'?{filters}'}"

    @staticmethod
    def _decide_url(decision: Decision, order: DraftOrder) -> str:
        return f"{reverse('admin:orders_draftorder_decide', args=[decision.name])}?order={order.pk}"


def _plain(number: Decimal) -> str:
    """10.500000 as 10.5."""
    return f"{number.normalize():f}"

"""The form of an order. An edit cancels the approval, by the service's rule."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db import models
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from backoffice.forms import Inline, NamedRows
from backoffice.scoping import OrgScopedAdmin, person
from kernel.errors import RuleViolation
from kernel.limits import MAX_FORM_LINES
from orders import approval
from orders.models import DraftOrder, DraftOrderLine


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


class LineFormSet(NamedRows):
    default_error_messages = {
        "too_many_forms": f"This form edits orders of up to {MAX_FORM_LINES:,} lines. Nothing was "
        "saved. Add further lines through the API.",
    }


class LineInline(Inline):
    model = DraftOrderLine
    formset = LineFormSet
    max_num = MAX_FORM_LINES
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

    def get_formset(
        self, request: HttpRequest, obj: DraftOrder | None = None, **kwargs: Any
    ) -> Any:
        return super().get_formset(request, obj, validate_max=True, **kwargs)

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


class OrderEditing(OrgScopedAdmin):
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

    def has_change_permission(self, request: HttpRequest, obj: DraftOrder | None = None) -> bool:
        # A form that comes too late is refused by the service, which says why.
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

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except RuleViolation as e:
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
            approval.recompute_readiness(order.pk)
        elif form.has_changed() or any(formset.has_changed() for formset in formsets):
            with approval.editing(order.pk, actor=person(request)):
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


def _plain(number: Decimal) -> str:
    """10.500000 as 10.5."""
    return f"{number.normalize():f}"

"""The form of an order and of its lines."""

from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin
from django.db import models
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from backoffice.forms import Inline, NamedRows
from kernel.limits import MAX_FORM_LINES
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
                self.add_error(name, gettext("Choose one of %(org)s.") % {"org": org})
        return data


class LineFormSet(NamedRows):
    default_error_messages = {
        "too_many_forms": _(
            "This form can save up to %(count)s lines. Nothing was saved. Add more lines through "
            "the API."
        )
        % {"count": f"{MAX_FORM_LINES:,}"},
    }


class LineInline(Inline):
    model = DraftOrderLine
    verbose_name_plural = _("Lines")
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

    @admin.display(description=_("quantity"))
    def plain_qty(self, line: DraftOrderLine) -> str:
        return _plain(line.qty)

    @admin.display(description=_("unit price"))
    def plain_unit_price(self, line: DraftOrderLine) -> str:
        return "-" if line.unit_price is None else _plain(line.unit_price)


def _plain(number: Decimal) -> str:
    """10.500000 as 10.5."""
    return f"{number.normalize():f}"

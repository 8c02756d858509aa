"""Fields and tables of forms for everyone, also with a screen reader or only a keyboard."""

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import AdminSplitDateTime, RelatedFieldWidgetWrapper
from django.forms import BaseInlineFormSet
from django.utils.translation import gettext


class DateAndTime(AdminSplitDateTime):
    """Names its two fields for screen readers."""

    def __init__(self, attrs: dict[str, Any] | None = None) -> None:
        super().__init__(attrs)
        for widget, name in zip(self.widgets, (gettext("Date"), gettext("Time")), strict=True):
            widget.attrs["aria-label"] = name


class LongText(forms.TextInput):
    """Wide enough for a sentence or a file name."""

    def __init__(self) -> None:
        super().__init__({"size": 60})


class RadioList(forms.RadioSelect):
    """Choices with long texts."""

    def __init__(self) -> None:
        super().__init__({"class": "radiolist"})


class NamedRows(BaseInlineFormSet):  # type: ignore[type-arg]
    """Rows whose fields have names for screen readers, not only the head of the table."""

    def add_fields(self, form: "forms.ModelForm[Any]", index: int | None) -> None:
        super().add_fields(form, index)
        for field in form.fields.values():
            # The wrapper of a related field does not pass attributes on.
            is_wrapped = isinstance(field.widget, RelatedFieldWidgetWrapper)
            widget = field.widget.widget if is_wrapped else field.widget
            if not widget.is_hidden:
                widget.attrs["aria-label"] = field.label


class Inline(admin.TabularInline):  # type: ignore[type-arg]
    """A table of fields that may be wider than a phone: it scrolls, also by keyboard."""

    formset = NamedRows
    template = "admin/scrolled_inline.html"


def freeze(field: forms.Field) -> None:
    """Show a choice that cannot change any more, without links to add or change objects.

    Disabled, not read-only: constraints with this field are still checked.
    """
    field.disabled = True
    for link in ("can_add_related", "can_change_related", "can_delete_related"):
        setattr(field.widget, link, False)

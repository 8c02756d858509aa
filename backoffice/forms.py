"""Fields and tables of forms that everybody can use, by screen reader and by keyboard too."""

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import AdminSplitDateTime, RelatedFieldWidgetWrapper
from django.forms import BaseInlineFormSet


class DateAndTime(AdminSplitDateTime):
    """Tells its two fields apart for those who only hear them."""

    def __init__(self, attrs: dict[str, Any] | None = None) -> None:
        super().__init__(attrs)
        for widget, name in zip(self.widgets, ("Date", "Time"), strict=True):
            widget.attrs["aria-label"] = name


class LongText(forms.TextInput):
    """Shows a sentence or a file name whole."""

    def __init__(self) -> None:
        super().__init__({"size": 60})


class RadioList(forms.RadioSelect):
    """Choices with texts as long as the page is wide."""

    def __init__(self) -> None:
        super().__init__({"class": "radiolist"})


class NamedRows(BaseInlineFormSet):  # type: ignore[type-arg]
    """Rows of fields that are named for those who only hear them, not just by the table's head."""

    def add_fields(self, form: "forms.ModelForm[Any]", index: int | None) -> None:
        super().add_fields(form, index)
        for field in form.fields.values():
            # Of a choice that can be added to, the wrapper does not pass on what it is told.
            is_wrapped = isinstance(field.widget, RelatedFieldWidgetWrapper)
            widget = field.widget.widget if is_wrapped else field.widget
            if not widget.is_hidden:
                widget.attrs["aria-label"] = field.label


class Inline(admin.TabularInline):  # type: ignore[type-arg]
    """A table of fields that may be wider than a phone: it scrolls by keyboard, too."""

    formset = NamedRows
    template = "admin/scrolled_inline.html"


def freeze(field: forms.Field) -> None:
    """Show a choice that is made for good, without links to make or change what is chosen.

    Disabled rather than read-only: constraints that involve the field are then still checked.
    """
    field.disabled = True
    for link in ("can_add_related", "can_change_related", "can_delete_related"):
        setattr(field.widget, link, False)

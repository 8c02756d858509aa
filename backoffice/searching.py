"""The text of a search: how much it may hold, and the field in which an order is searched for."""

from typing import Final

from django import forms
from django.core.exceptions import ValidationError
from django.utils.text import smart_split
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

# Each word makes the query slower.
MAX_CHARACTERS: Final = 300
MAX_WORDS: Final = 10


def validate_search(text: str) -> None:
    """Raises ValidationError. Text in quotation marks is one word, as Django's lists take it."""
    if "\0" in text:
        raise ValidationError(gettext("The search has a NUL character. Remove it."))
    if len(text) > MAX_CHARACTERS:
        raise ValidationError(
            gettext("The search has %(count)s characters. Enter up to %(most)s.")
            % {"count": f"{len(text):,}", "most": MAX_CHARACTERS}
        )
    if (count := sum(1 for _ in smart_split(text))) > MAX_WORDS:
        raise ValidationError(
            gettext(
                "The search has %(count)s words. Enter up to %(most)s, or put a phrase in "
                "quotation marks."
            )
            % {"count": count, "most": MAX_WORDS}
        )


class SearchForm(forms.Form):
    q = forms.CharField(
        label=_("Find an order"),
        validators=[validate_search],
        required=False,
        help_text=_(
            "Order number or its beginning, ERP number, customer number, beginning of the customer "
            "name, or file name."
        ),
        widget=forms.TextInput({"type": "search", "maxlength": MAX_CHARACTERS}),
    )

"""The text of a search: how much it may hold, and the field in which an order is searched for."""

from typing import Final

from django import forms
from django.core.exceptions import ValidationError
from django.utils.text import smart_split

# Each word is one more look at every row.
MAX_CHARACTERS: Final = 300
MAX_WORDS: Final = 10


def validate_search(text: str) -> None:
    """Raises ValidationError. Text in quotation marks is one word, as Django's lists take it."""
    if "\0" in text:
        raise ValidationError("The search has a NUL character, which no text has. Remove it.")
    if len(text) > MAX_CHARACTERS:
        raise ValidationError(
            f"The search has {len(text):,} characters. Enter up to {MAX_CHARACTERS}."
        )
    if (count := sum(1 for _ in smart_split(text))) > MAX_WORDS:
        raise ValidationError(
            f"The search has {count} words. Enter up to {MAX_WORDS}, or put a phrase in quotation "
            "marks."
        )


class SearchForm(forms.Form):
    q = forms.CharField(
        label="Where is my order?",
        validators=[validate_search],
        required=False,
        help_text="The order number or how it begins, the ERP’s number, the customer’s number or "
        "how the name begins, or the name of an exported file.",
        widget=forms.TextInput({"type": "search", "maxlength": MAX_CHARACTERS}),
    )

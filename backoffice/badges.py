"""Status badges of the admin; static/orderflow/admin.css draws them."""

from enum import StrEnum

from django.utils.html import format_html
from django.utils.safestring import SafeString


class Tone(StrEnum):
    GOOD = "good"
    BUSY = "busy"
    BAD = "bad"
    QUIET = "quiet"


def badge(label: str, tone: Tone) -> SafeString:
    """The label is what it says; the tone only colours it."""
    return format_html('<span class="badge badge-{}">{}</span>', tone.value, label)

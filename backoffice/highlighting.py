"""Documents on pages: JSON, indented and marked up. No character changes."""

import re
from typing import Final

import msgspec
from django.utils.html import escape, format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext

# A page with more characters would be slow.
_SHOWN: Final = 200_000
_TOKEN: Final = re.compile(
    r'(?P<string>"(?:[^"\\]|\\.)*")(?P<colon>:)?'
    r"|(?P<number>-?[0-9][0-9.eE+-]*)"
    r"|(?P<word>true|false|null)"
    r"|(?P<rest>[^\"0-9tfn-]+|.)",
    re.DOTALL,
)


def highlighted(document: bytes) -> SafeString:
    """A document as HTML. Its numbers stay text, so that none can change."""
    try:
        text = msgspec.json.format(document, indent=2).decode()
    except msgspec.DecodeError:
        text = document.decode(errors="replace")
        shown = escape(text[:_SHOWN])
    else:
        shown = format_html_join("", "{}", ((_marked(m),) for m in _TOKEN.finditer(text[:_SHOWN])))
    if len(text) > _SHOWN:
        return format_html("{}\n… {}", shown, gettext("The download has the rest."))
    return shown


def _marked(token: re.Match[str]) -> str:
    if token["string"]:
        kind = "key" if token["colon"] else "string"
        return format_html(
            '<span class="json-{}">{}</span>{}', kind, token["string"], token["colon"] or ""
        )
    if (text := token["number"] or token["word"]) is not None:
        return format_html('<span class="json-number">{}</span>', text)
    return token["rest"]

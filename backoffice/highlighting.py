"""Documents on pages: JSON indented and marked up, with every character as it is."""

import re
from typing import Final

import msgspec
from django.utils.html import escape, format_html, format_html_join
from django.utils.safestring import SafeString

# A page with more would be slow to look at.
_SHOWN: Final = 200_000
_TOKEN: Final = re.compile(
    r'(?P<string>"(?:[^"\\]|\\.)*")(?P<colon>:)?'
    r"|(?P<number>-?[0-9][0-9.eE+-]*)"
    r"|(?P<word>true|false|null)"
    r"|(?P<rest>[^\"0-9tfn-]+|.)",
    re.DOTALL,
)


def highlighted(document: bytes) -> SafeString:
    """A document as HTML. Its numbers are not read, so that none can change."""
    try:
        text = msgspec.json.format(document, indent=2).decode()
    except msgspec.DecodeError:
        text = document.decode(errors="replace")
        shown = escape(text[:_SHOWN])
    else:
        shown = format_html_join("", "{}", ((_marked(m),) for m in _TOKEN.finditer(text[:_SHOWN])))
    if len(text) > _SHOWN:
        return format_html("{}\n… The rest is in the download.", shown)
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

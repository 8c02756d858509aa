"""Print the error catalogue as docs/errors.md has it."""

from typing import Any

from django.core.management.base import BaseCommand

from connectors.dropzone import acks
from connectors.errors import CATALOGUE, Kind

_HEAD = """\
# Error codes

Every error of reaching and serving a dropzone has a stable code. It stands in an export's
`error_json`, in the last error of its connection and in the log. This page is made by
`manage.py error_catalogue`.
"""
_KINDS = {
    Kind.REACH: (
        "The server could not be reached",
        "Transient. Counts on the connection: it is tried again after 5 s, doubling to 10 min; "
        "then one export goes ahead and the others follow.",
    ),
    Kind.FILE: (
        "One file failed",
        "Transient. Counts on the export: tried again after 5 s, 30 s, 2 min, 10 min, 30 min, then "
        "hourly. Other exports are not held up.",
    ),
    Kind.DESTINATION: (
        "The connection needs a change",
        "The connection is paused. Its exports wait, showing the error, and go when a test passes.",
    ),
    Kind.ORDER: (
        "The export can never succeed",
        "The export fails now and its order shows the reason.",
    ),
    Kind.DECISION: (
        "Nobody can know what happened",
        "The export stays pending and nothing is tried again until a person decides.",
    ),
}
_ACKS = """
## An answer of the ERP cannot be understood

The file is moved to `error/` and shown in the ack inbox, with what its writer has to mend. A file
with a foreign name stays where it is.

| code | what it says |
| --- | --- |
"""


class Command(BaseCommand):
    help = "Print the error catalogue in Markdown."

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(render(), ending="")


def render() -> str:
    """The catalogue in Markdown, by kind, then what can be wrong with an answer."""
    parts = [_HEAD]
    for kind, (title, meaning) in _KINDS.items():
        parts.append(f"\n## {title}\n\n{meaning}\n\n| code | what it says | what to do | who |")
        parts.append("\n| --- | --- | --- | --- |\n")
        parts += [
            f"| `{code}` | {spec.message} | {spec.hint} | {spec.owner} |\n"
            for code, spec in CATALOGUE.items()
            if spec.kind is kind
        ]
    parts.append(_ACKS)
    parts += [f"| `{code}` | {sentence} |\n" for code, sentence in acks.MALFORMED.items()]
    return "".join(parts)

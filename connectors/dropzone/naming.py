"""File names: how exports are named, and which names ERPs give to acks.

An export is `sales_order_{draft_id_short}_{timestamp}_{uuid_suffix}.json`, its ack `ack_{export}`
or `error_{export}`.
"""

import re
from datetime import UTC, datetime
from difflib import SequenceMatcher
from typing import Final
from uuid import UUID

from connectors.port import AckName

_LONGEST: Final = 255
_EXPORT: Final = re.compile(r"sales_order_[0-9a-f]{8}_[0-9]{8}_[0-9]{6}_[0-9a-f]{8}\.json")
_ACK: Final = re.compile(r"(ack|error)_(sales_order_[0-9A-Za-z_.-]*\.json)")
_WITH_FULL_ID: Final = re.compile(
    r"sales_order_(?P<id>(?P<short>[0-9a-f]{8})(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?P<rest>_.*)"
)

# What makes an export's name unique, however a program writes it: order, time and suffix.
_CORE: Final = re.compile(
    r"([0-9a-f]{8})(?:(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})?"
    r"[^0-9a-z]{0,2}([0-9]{8})[^0-9a-z]{0,2}([0-9]{6})[^0-9a-z]{0,2}([0-9a-f]{8})"
)
_STILL_WRITTEN: Final = re.compile(r"\..*|.*(\.(tmp|temp|part|partial|filepart|writing|swp)|~)")
_ANSWER_WORD: Final = re.compile(r"(?<![a-z])(n?ack(nowledged)?|err(or)?|fail(ed)?)(?![a-z])")
_REFUSAL_WORD: Final = re.compile(r"err|ero|fail|nack")
_ANSWER_TO_ANYTHING: Final = re.compile(r"(ack|error)[^0-9a-z].*\.json")
_BEGINNINGS: Final = ("acksalesorder", "errorsalesorder")
_ALIKE: Final = 0.8


def export_filename(order_id: UUID, *, now: datetime, suffix: UUID) -> str:
    """Return the name of an export's file; `suffix` is random and sets names of a second apart."""
    timestamp = now.astimezone(UTC).strftime("%Y%m%d_%H%M%S")
    return f"sales_order_{str(order_id)[:8]}_{timestamp}_{suffix.hex[:8]}.json"


def is_export_filename(listed: str) -> bool:
    """Whether a file of the export folder has the name of an export."""
    return _EXPORT.fullmatch(listed) is not None


def tmp_filename(filename: str, attempt: str) -> str:
    """Return the name under which one attempt stages a file. ERPs must leave `*.tmp` alone."""
    return f"{filename}.{attempt}.tmp"


def parse_ack_filename(listed: str) -> AckName | None:
    """Return what a file of the ack folder answers, by its name; None if it is not an answer.

    The guide's pattern can be read in two more ways, which ERPs may write: `.json` added to the
    whole name of the export, and the whole id of the order in place of its first segment.
    """
    match = _ACK.fullmatch(listed) if len(listed) <= _LONGEST else None
    if match is None:
        return None
    outcome, filename = match.groups()
    if filename.endswith(".json.json"):
        filename = filename.removesuffix(".json")
    order_id = None
    if full := _WITH_FULL_ID.fullmatch(filename):
        order_id = UUID(full["id"])
        filename = f"sales_order_{full['short']}{full['rest']}"
    return AckName(is_error=outcome == "error", export_filename=filename, order_id=order_id)


def intended_ack_filename(listed: str) -> str | None:
    """Return the name that was probably meant by one that only resembles that of an answer.

    If it cannot be told which export is meant, this is the name itself. None: the name is that of
    an answer or of an export, may be that of a file that is still being written, or is unlike any.
    """
    # What does not print is for no page and no database: bytes that are not UTF-8, line ends.
    if len(listed) > _LONGEST or not listed.isprintable() or parse_ack_filename(listed):
        return None
    text = listed.casefold()
    if _STILL_WRITTEN.fullmatch(text):
        return None
    core = _CORE.search(text)
    rest = text[: core.start()] + "." + text[core.end() :] if core else text
    if text.startswith("sales_order_") and not _ANSWER_WORD.search(rest):
        # An export, or a copy of one that the ERP keeps.
        return None
    if core:
        kind = "error" if _REFUSAL_WORD.search(rest) else "ack"
        return f"{kind}_sales_order_{'_'.join(core.groups())}.json"
    return listed if _ANSWER_TO_ANYTHING.fullmatch(text) or _begins_alike(text) else None


def _begins_alike(text: str) -> bool:
    letters = re.sub(r"[^a-z]", "", text)
    # Comparing takes long, and a typing error spoils one word at most.
    if "sales" not in letters and "order" not in letters:
        return False
    return any(
        SequenceMatcher(None, letters[: len(beginning)], beginning).ratio() >= _ALIKE
        for beginning in _BEGINNINGS
    )


def is_of_order(subject: AckName, order_id: UUID) -> bool:
    """Whether an answer's name, as far as it goes, is that of an export of this order."""
    if subject.order_id:
        return subject.order_id == order_id
    return subject.export_filename.startswith(f"sales_order_{str(order_id)[:8]}_")

"""The parser of ack files: bytes -> Ack | MalformedAck.

Strict about what an answer means, tolerant about the rest: an unusable optional value is left out.
"""

import codecs
import json
import re
from datetime import UTC, datetime
from typing import Any, Final, NoReturn
from uuid import UUID

from connectors.dropzone import naming
from connectors.port import Ack, AckName, MalformedAck

# A reader asks for one byte more, so that a larger file shows.
MAX_BYTES: Final = 1024 * 1024
MAX_DEPTH: Final = 32
MAX_IDENTIFIER: Final = 200
MAX_MESSAGE: Final = 2_000
MAX_TEXT: Final = 65_536

# What is wrong, as a sentence for the ERP's programmer.
MALFORMED: Final[dict[str, str]] = {
    "ACK_NAME": "The file name must be ack_ or error_ followed by the name of the exported file.",
    "ACK_TOO_BIG": "The file must not be larger than 1 MiB.",
    "ACK_EMPTY": "The file must not be empty.",
    "ACK_ENCODING": "The file must be UTF-8, or UTF-16 with a byte order mark, without NUL.",
    "ACK_NOT_JSON": "The file must hold one complete JSON value and nothing else.",
    "ACK_TOO_DEEP": "Objects and arrays must not be nested more than 32 deep.",
    "ACK_DUPLICATE_KEY": "A key must not appear twice in an object.",
    "ACK_NOT_OBJECT": "The JSON value must be an object.",
    "ACK_STATUS": "The key “status” must be “ACKED” or “FAILED”.",
    "ACK_CONTRADICTION": "The status must be “ACKED” in a file named ack_… and “FAILED” in one "
    "named error_….",
    "ACK_MISMATCH": "A “draft_order_id” or “export_filename” in the content must be the one in "
    "the file name.",
}
# A file that is still being written can look like these and, once complete, be none of them.
_PERHAPS_INCOMPLETE: Final = {"ACK_EMPTY", "ACK_ENCODING", "ACK_NOT_JSON"}

_STATUSES: Final = {"ACKED": True, "FAILED": False}
# A string that is never closed matches too, or each quote in it would start a search to the end.
_STRING_OR_BRACKET: Final = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)
_UNSTORABLE: Final = re.compile(r"[\x00\ud800-\udfff]")
_EXACT_FLOATS: Final = 2**53


class _Malformed(Exception):
    def __init__(self, code: str, detail: str = "") -> None:
        self.code = code
        self.detail = detail


def read(filename: str, content: bytes) -> Ack | MalformedAck:
    """Understand the content of a file in the light of its name. Raises nothing."""
    try:
        subject = naming.parse_ack_filename(filename)
        if subject is None:
            raise _Malformed("ACK_NAME")
        body = _parse(_decode(content))
        return _interpret(body, subject)
    except _Malformed as e:
        return MalformedAck(
            code=e.code,
            message=f"{MALFORMED[e.code]} {e.detail}".rstrip(),
            is_perhaps_incomplete=e.code in _PERHAPS_INCOMPLETE,
        )


def as_text(content: bytes) -> str:
    """Whatever the bytes are, as text for a person; what cannot be decoded shows as `\\xfc`."""
    return _clipped(_storable(content.decode(_encoding(content), "backslashreplace")), MAX_TEXT)


def _decode(content: bytes) -> str:
    if len(content) > MAX_BYTES:
        raise _Malformed("ACK_TOO_BIG")
    try:
        text = content.decode(_encoding(content))
    except UnicodeDecodeError as e:
        raise _Malformed("ACK_ENCODING", f"Byte {e.start} is something else.") from e
    # UTF-16 without a mark, and UTF-32, decode as well, with a NUL beside each letter.
    if "\0" in text:
        raise _Malformed("ACK_ENCODING")
    if not text.strip():
        raise _Malformed("ACK_EMPTY")
    return text


def _encoding(content: bytes) -> str:
    is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return "utf-16" if is_utf16 else "utf-8-sig"


def _parse(text: str) -> dict[str, Any]:
    # Before the parser, which recurses.
    if _is_too_deep(text):
        raise _Malformed("ACK_TOO_DEEP")
    try:
        value = json.loads(
            text,
            parse_int=_integer,
            parse_constant=_refuse_constant,
            object_pairs_hook=_unique_keys,
        )
    except json.JSONDecodeError as e:
        where = f"Line {e.lineno}, column {e.colno}: {e.msg}."
        raise _Malformed("ACK_NOT_JSON", where) from e
    if not isinstance(value, dict):
        raise _Malformed("ACK_NOT_OBJECT")
    return value


def _is_too_deep(text: str) -> bool:
    depth = 0
    for token in _STRING_OR_BRACKET.finditer(text):
        if token[0] in "[{":
            depth += 1
        elif token[0] in "]}":
            depth -= 1
        if depth > MAX_DEPTH:
            return True
    return False


def _integer(digits: str) -> int | None:
    # Longer ones mean nothing here, and Python refuses those of some thousand digits.
    return int(digits) if len(digits) <= MAX_IDENTIFIER else None


def _refuse_constant(constant: str) -> NoReturn:
    raise _Malformed("ACK_NOT_JSON", f"{constant} is not a JSON number.")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique: dict[str, Any] = {}
    for key, value in pairs:
        if key in unique:
            raise _Malformed("ACK_DUPLICATE_KEY", f"Here it is {_quoted(key)}.")
        unique[key] = value
    return unique


def _interpret(body: dict[str, Any], subject: AckName) -> Ack:
    status = body.get("status")
    is_accepted = _STATUSES.get(status.strip().upper()) if isinstance(status, str) else None
    if is_accepted is None:
        raise _Malformed(
            "ACK_STATUS",
            f"Here it is {_quoted(status)}." if "status" in body else "Here it is missing.",
        )
    if is_accepted is subject.is_error:
        raise _Malformed("ACK_CONTRADICTION")
    _refuse_another_subject(body, subject)
    return Ack(
        is_accepted=is_accepted,
        erp_order_id=_identifier(body.get("erp_order_id")),
        error_code=_identifier(body.get("error_code")),
        message=_message(body.get("message")),
        processed_at=_moment(body.get("processed_at")),
    )


def _refuse_another_subject(body: dict[str, Any], subject: AckName) -> None:
    filename = body.get("export_filename")
    if filename not in (None, subject.export_filename):
        raise _Malformed("ACK_MISMATCH", f"Here “export_filename” is {_quoted(filename)}.")
    order_id = body.get("draft_order_id")
    if order_id is None:
        return
    try:
        is_same = naming.is_of_order(subject, UUID(str(order_id)))
    except ValueError:
        is_same = False
    if not is_same:
        raise _Malformed("ACK_MISMATCH", f"Here “draft_order_id” is {_quoted(order_id)}.")


def _identifier(value: object) -> str | None:
    # Some writers know no integers and write 4711.0.
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT_FLOATS:
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or len(value) > MAX_IDENTIFIER:
        return None
    return _storable(value.strip()) or None


def _message(value: object) -> str | None:
    return (
        _clipped(_storable(value.strip()), MAX_MESSAGE) or None if isinstance(value, str) else None
    )


def _moment(value: object) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
        # Without a zone it is not known which moment is meant.
        return moment.astimezone(UTC) if moment.tzinfo else None
    except (ValueError, OverflowError):
        return None


def _quoted(value: object) -> str:
    return _clipped(json.dumps(value), 80)


def _storable(text: str) -> str:
    return _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def _clipped(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"

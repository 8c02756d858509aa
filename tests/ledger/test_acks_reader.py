"""The ack reader: what names and contents of acks mean, and that hostile ones do no harm."""

import codecs
import json
import os
import time
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st

from connectors.dropzone import acks, naming
from connectors.port import Ack, AckName, MalformedAck

ORDER_ID = UUID("550e8400-e29b-41d4-a716-446655440000")
EXPORT = "sales_order_550e8400_20251227_100000_abc12345.json"
FULL = f"sales_order_{ORDER_ID}_20251227_100000_abc12345.json"
ACK, ERROR = f"ack_{EXPORT}", f"error_{EXPORT}"

# The guide's two examples.
GUIDE_ACK = b"""{
  "status": "ACKED",
  "erp_order_id": "SO-2025-000123",
  "processed_at": "2025-12-26T10:01:00Z"
}
"""
GUIDE_ERROR = b"""{
  "status": "FAILED",
  "error_code": "ERP_VALIDATION",
  "message": "Unknown customer 4711",
  "processed_at": "2025-12-26T10:01:00Z"
}
"""
MOMENT = datetime(2025, 12, 26, 10, 1, tzinfo=UTC)


def accepted(**members: Any) -> bytes:
    return json.dumps({"status": "ACKED", **members}).encode()


def read(content: bytes, name: str = ACK) -> Ack:
    found = acks.read(name, content)
    assert isinstance(found, Ack), found
    return found


def malformed(content: bytes, name: str = ACK) -> MalformedAck:
    found = acks.read(name, content)
    assert isinstance(found, MalformedAck), found
    return found


# Names.
@pytest.mark.parametrize(
    ("listed", "is_error", "filename", "order_id"),
    [
        (ACK, False, EXPORT, None),
        (ERROR, True, EXPORT, None),
        (f"{ACK}.json", False, EXPORT, None),
        (f"ack_{FULL}", False, EXPORT, ORDER_ID),
        (f"error_{FULL}.json", True, EXPORT, ORDER_ID),
        # Patterned, though no export has such a name: recorded as unmatched, not overlooked.
        ("ack_sales_order_4711.json", False, "sales_order_4711.json", None),
        (f"ack_sales_order_{ORDER_ID}.json", False, f"sales_order_{ORDER_ID}.json", None),
        (ACK.replace("abc", "ABC"), False, EXPORT.replace("abc", "ABC"), None),
        (f"{ACK}.json.json", False, f"{EXPORT}.json", None),
    ],
)
def test_a_name_says_what_it_answers(
    listed: str, is_error: bool, filename: str, order_id: UUID | None
) -> None:
    assert naming.parse_ack_filename(listed) == AckName(
        is_error=is_error, export_filename=filename, order_id=order_id
    )


@pytest.mark.parametrize(
    "listed",
    [
        "",
        EXPORT,
        "ack_",
        "error_log.json",
        ACK.upper(),
        ACK.replace("ack_", "Ack_"),
        f"{ACK}.tmp",
        f"{ACK}.0a1b2c3d.tmp",
        ACK.replace(".json", ".JSON"),
        ACK.replace(".json", ".xml"),
        f" {ACK}",
        f"{ACK}\n",
        f"{ACK}\0",
        f"../{ACK}",
        f"ack_../{EXPORT}",
        "ack_sales_order_/../x.json",
        "ack_sales_order_a\\b.json",
        "ack_sales_order_a\nb.json",
        "ack_sales_order_\u202egnosj.json",
        "ack_sales_order_\udcff.json",
        "ack_sales_order_٣.json",
        f"ack_sales_order_{'x' * 255}.json",
    ],
)
def test_other_names_answer_nothing(listed: str) -> None:
    assert naming.parse_ack_filename(listed) is None
    assert malformed(GUIDE_ACK, listed).code == "ACK_NAME"


def test_every_export_can_be_answered() -> None:
    exported = naming.export_filename(ORDER_ID, now=MOMENT, suffix=UUID(int=7))
    assert naming.parse_ack_filename(f"ack_{exported}") == AckName(
        is_error=False, export_filename=exported, order_id=None
    )
    assert naming.parse_ack_filename(f"ack_{naming.tmp_filename(exported, '0a1b2c3d')}") is None


fragments = st.sampled_from(
    [b"ack_", b"error_", b"sales_order_", b".json", b"..", b"/", b"\0", b"\n", b"\xff", b"-e29b"]
)
listed_names = st.lists(fragments | st.binary(max_size=9), max_size=12).map(b"".join)


@given(listed_names | listed_names.map(lambda name: b"ack_sales_order_" + name + b".json"))
def test_no_name_leads_out_of_the_folder_or_breaks_the_database(raw: bytes) -> None:
    subject = naming.parse_ack_filename(os.fsdecode(raw))
    if subject:
        assert subject.export_filename.isascii() and subject.export_filename.isprintable()
        assert os.path.basename(subject.export_filename) == subject.export_filename
        assert subject.export_filename.startswith("sales_order_")
        assert len(subject.export_filename) <= 255


# Answers.
def test_the_guides_answers_are_understood() -> None:
    assert read(GUIDE_ACK) == Ack(
        is_accepted=True,
        erp_order_id="SO-2025-000123",
        error_code=None,
        message=None,
        processed_at=MOMENT,
    )
    assert read(GUIDE_ERROR, ERROR) == Ack(
        is_accepted=False,
        erp_order_id=None,
        error_code="ERP_VALIDATION",
        message="Unknown customer 4711",
        processed_at=MOMENT,
    )


ENCODINGS = [
    lambda text: text.encode(),
    lambda text: text.encode("utf-8-sig"),
    lambda text: codecs.BOM_UTF16_LE + text.encode("utf-16-le"),
    lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
]


@pytest.mark.parametrize("encode", ENCODINGS)
def test_utf8_and_marked_utf16_are_read(encode: Any) -> None:
    content = encode('{"status": "FAILED", "message": "Müller ⌀ 😀"}')
    assert read(content, ERROR).message == "Müller ⌀ 😀"
    assert acks.as_text(content) == '{"status": "FAILED", "message": "Müller ⌀ 😀"}'


@pytest.mark.parametrize("status", ["ACKED", "acked", "Acked", " ACKED "])
def test_the_case_of_the_status_does_not_matter(status: str) -> None:
    assert read(json.dumps({"status": status}).encode()).is_accepted


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ('"SO-1"', "SO-1"),
        ('" SO-1  "', "SO-1"),
        ("4711", "4711"),
        ("-1", "-1"),
        ("4711.0", "4711"),
        (f'"{"9" * 200}"', "9" * 200),
        ("9" * 200, "9" * 200),
        (r'"SO-\u0000\ud800"', "SO-��"),
        # Unusable: left out.
        ("null", None),
        ('""', None),
        ('"  "', None),
        ("true", None),
        ("4711.5", None),
        ("1e20", None),
        ("1e999", None),
        ("-1e999", None),
        ("9" * 201, None),
        ("9" * 5000, None),
        (f'"{"9" * 201}"', None),
        ('["SO-1"]', None),
        ('{"id": "SO-1"}', None),
    ],
)
@pytest.mark.parametrize("member", ["erp_order_id", "error_code"])
def test_identifiers_are_texts_or_integers(written: str, found: str | None, member: str) -> None:
    content = f'{{"status": "ACKED", "{member}": {written}}}'.encode()
    assert getattr(read(content), member) == found


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("2025-12-26T10:01:00Z", MOMENT),
        ("2025-12-26T12:01:00+02:00", MOMENT),
        ("2025-12-26T10:01:00.000Z", MOMENT),
        ("2025-12-26T10:01:00", None),
        ("26.12.2025", None),
        ("9999-12-31T23:59:59-01:00", None),
        ("\ud800", None),
        ("", None),
        (1766743260, None),
        (None, None),
    ],
)
def test_timestamps_need_a_zone(written: object, found: datetime | None) -> None:
    assert read(accepted(processed_at=written)).processed_at == found


def test_timestamps_are_utc() -> None:
    moment = read(accepted(processed_at="2025-12-26T12:01:00+02:00")).processed_at
    assert moment and moment.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("  Unknown customer\n", "Unknown customer"),
        ("a\0b\ud800c", "a�b�c"),
        ("m" * 3000, "m" * 1999 + "…"),
        ("", None),
        (5, None),
        (["x"], None),
    ],
)
def test_messages_are_bounded_text(written: object, found: str | None) -> None:
    assert read(accepted(message=written)).message == found


def test_unknown_keys_are_ignored() -> None:
    content = rb'{"status": "ACKED", "": [1e999, "\u0000", "\ud800", {"status": "FAILED"}]}'
    assert read(content).is_accepted


# Answers about something else.
@pytest.mark.parametrize("name", [ACK, f"ack_{FULL}"])
def test_the_content_may_repeat_what_it_answers(name: str) -> None:
    for order_id in (str(ORDER_ID), str(ORDER_ID).upper(), ORDER_ID.hex, None):
        assert read(accepted(draft_order_id=order_id, export_filename=EXPORT), name).is_accepted


@pytest.mark.parametrize(
    ("name", "members"),
    [
        (ACK, {"draft_order_id": "650e8400-e29b-41d4-a716-446655440000"}),
        (f"ack_{FULL}", {"draft_order_id": "550e8400-0000-41d4-a716-446655440000"}),
        (ACK, {"draft_order_id": "PO-12345"}),
        (ACK, {"draft_order_id": 5}),
        (ACK, {"draft_order_id": {}}),
        (ACK, {"export_filename": EXPORT.replace("abc", "abd")}),
        (ACK, {"export_filename": ACK}),
        (ACK, {"export_filename": 5}),
        (ACK, {"export_filename": "\0\ud800"}),
    ],
)
def test_content_about_something_else_is_refused(name: str, members: dict[str, Any]) -> None:
    assert malformed(accepted(**members), name).code == "ACK_MISMATCH"


# Malformed answers.
NESTED = b'{"status": "ACKED", "x": %s}'


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "ACK_EMPTY"),
        (b" \r\n", "ACK_EMPTY"),
        (codecs.BOM_UTF8, "ACK_EMPTY"),
        (codecs.BOM_UTF16_LE, "ACK_EMPTY"),
        (b" " * (acks.MAX_BYTES + 1), "ACK_TOO_BIG"),
        ('{"status": "ACKED", "message": "Müller"}'.encode("latin-1"), "ACK_ENCODING"),
        (GUIDE_ACK.decode().encode("utf-16-le"), "ACK_ENCODING"),
        (GUIDE_ACK.decode().encode("utf-16-be"), "ACK_ENCODING"),
        (GUIDE_ACK.decode().encode("utf-32"), "ACK_ENCODING"),
        (codecs.BOM_UTF16_LE + b"\x00\xd8{\x00}\x00", "ACK_ENCODING"),
        (GUIDE_ACK + b"\0" * 512, "ACK_ENCODING"),
        (b"\x1f\x8b\x08\x00\x00\x00\x00\x00", "ACK_ENCODING"),
        (b'{"status": "ACKED"', "ACK_NOT_JSON"),
        (b"status=ACKED", "ACK_NOT_JSON"),
        (b"{'status': 'ACKED'}", "ACK_NOT_JSON"),
        (b'{"status": "ACKED",}', "ACK_NOT_JSON"),
        (b'{"status": "ACKED"} {"status": "ACKED"}', "ACK_NOT_JSON"),
        (codecs.BOM_UTF8 * 2 + GUIDE_ACK, "ACK_NOT_JSON"),
        (NESTED % b"NaN", "ACK_NOT_JSON"),
        (NESTED % b"-Infinity", "ACK_NOT_JSON"),
        (NESTED % b'"a\nb"', "ACK_NOT_JSON"),
        (NESTED % (b"[" * 32 + b"]" * 32), "ACK_TOO_DEEP"),
        (NESTED % (b"[" + b"[]," * 40 + b"[" * 31 + b"]" * 32), "ACK_TOO_DEEP"),
        (b"[" * 500_000, "ACK_TOO_DEEP"),
        (b'{"":' * 200_000, "ACK_TOO_DEEP"),
        (b'{"status": "ACKED", "status": "FAILED"}', "ACK_DUPLICATE_KEY"),
        (NESTED % b'{"a": 1, "\\u0061": 2}', "ACK_DUPLICATE_KEY"),
        (b"[]", "ACK_NOT_OBJECT"),
        (b"null", "ACK_NOT_OBJECT"),
        (b'"ACKED"', "ACK_NOT_OBJECT"),
        (b"9" * 5000, "ACK_NOT_OBJECT"),
        (b"{}", "ACK_STATUS"),
        (b'{"Status": "ACKED"}', "ACK_STATUS"),
        (b'{"status": "OK"}', "ACK_STATUS"),
        (b'{"status": "\\u0000\\ud800"}', "ACK_STATUS"),
        (b'{"status": "%s"}' % (b"x" * 5000), "ACK_STATUS"),
        (b'{"status": null}', "ACK_STATUS"),
        (b'{"status": true}', "ACK_STATUS"),
        (b'{"status": 1e999}', "ACK_STATUS"),
        (b'{"status": ["ACKED"]}', "ACK_STATUS"),
        (GUIDE_ERROR, "ACK_CONTRADICTION"),
    ],
)
def test_malformed_answers_have_a_code_and_a_sentence(content: bytes, code: str) -> None:
    found = malformed(content)
    assert found.code == code
    assert found.message.startswith(acks.MALFORMED[code])
    assert found.message.isprintable() and len(found.message) < 300
    assert found.is_perhaps_incomplete == (code in ("ACK_EMPTY", "ACK_ENCODING", "ACK_NOT_JSON"))


def test_an_error_file_that_accepts_is_refused() -> None:
    assert malformed(GUIDE_ACK, ERROR).code == "ACK_CONTRADICTION"


def test_the_sentence_names_the_place() -> None:
    assert "Line 2, column 10" in malformed(b'{"status":\n "ACKED" "x": 1}').message
    assert '"OK"' in malformed(b'{"status": "OK"}').message
    assert '"status"' in malformed(b'{"status": 1, "status": 2}').message


def test_32_levels_are_read() -> None:
    assert read(NESTED % (b"[" * 31 + b"]" * 31)).is_accepted


def test_brackets_in_texts_are_no_levels() -> None:
    assert read(accepted(message='\\"' + "[{" * 100, x="]" * 50)).is_accepted


def test_a_file_of_the_largest_size_is_read() -> None:
    assert read(GUIDE_ACK.ljust(acks.MAX_BYTES)).is_accepted


@pytest.mark.parametrize("encode", ENCODINGS)
def test_every_part_of_a_good_answer_is_perhaps_incomplete(encode: Any) -> None:
    whole = encode('{"status": "ACKED", "erp_order_id": "SÖ-1", "x": [-1.5e3, true, {"y": "😀"}]}')
    assert all(malformed(whole[:length]).is_perhaps_incomplete for length in range(len(whole)))


# Hostile answers.
members = st.dictionaries(
    st.sampled_from(["status", "erp_order_id", "message", "processed_at", "draft_order_id"]),
    st.sampled_from(["ACKED", "FAILED", str(ORDER_ID)])
    | st.text(st.sampled_from("aZ9 \n\x1f\0\ud800ü😀"))
    | st.integers()
    | st.floats()
    | st.datetimes(timezones=st.just(timezone(timedelta(hours=-13)))).map(datetime.isoformat)
    | st.none(),
)


def check(content: bytes) -> None:
    for name in (ACK, ERROR):
        found = acks.read(name, content)
        texts = [acks.as_text(content)]
        if isinstance(found, Ack):
            texts += filter(None, (found.erp_order_id, found.error_code, found.message))
        else:
            assert found.code in acks.MALFORMED
            texts.append(found.message)
        for text in texts:
            text.encode()
            assert "\0" not in text


@given(st.binary() | members.map(lambda body: json.dumps(body).encode()))
def test_any_bytes_are_an_answer_or_malformed(content: bytes) -> None:
    check(content)


@given(st.data())
def test_mutated_answers_are_answers_or_malformed(data: st.DataObject) -> None:
    content = bytearray(data.draw(st.sampled_from([GUIDE_ACK, GUIDE_ERROR])))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(content)))
        end = data.draw(st.integers(start, min(start + 5, len(content))))
        content[start:end] = data.draw(
            st.sampled_from([b"", b'"', b"\\", b"[", b"}", b"\0", b"\xff", b"9" * 5000, b"NaN"])
            | st.binary(max_size=3)
        )
    check(bytes(content))


@pytest.mark.parametrize(
    "content",
    [
        b'"' + b'\\"' * (acks.MAX_BYTES // 2 - 1),
        b'"' * acks.MAX_BYTES,
        b"\\" * acks.MAX_BYTES,
        b"[]" * (acks.MAX_BYTES // 2),
        b"9" * acks.MAX_BYTES,
        b"-0." + b"9" * (acks.MAX_BYTES - 3),
        b"\n" * acks.MAX_BYTES,
        b"\xff" * acks.MAX_BYTES,
        b'{"' + b'":1,"'.join(b"%x" % n for n in range(100_000)) + b'":1}',
    ],
    ids=["quotes", "strings", "escapes", "brackets", "int", "float", "lines", "ff", "keys"],
)
def test_the_largest_files_take_linear_time(content: bytes) -> None:
    start = time.process_time()
    acks.read(ACK, content)
    acks.as_text(content)
    assert time.process_time() - start < 3


@pytest.mark.parametrize("part", ["ack_sales_order_", "-", ".json", "550e8400-", "_", "."])
def test_the_longest_names_take_linear_time(part: str) -> None:
    name = "ack_sales_order_" + part * 500_000 + ".json"
    start = time.process_time()
    assert naming.parse_ack_filename(name) is None
    assert time.process_time() - start < 0.5


# What is stored.
@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("Müller".encode("latin-1"), "M\\xfcller"),
        (b"a\0b", "a�b"),
        (codecs.BOM_UTF16_LE + b"a\0\x00\xd8", "a\\x00\\xd8"),
        (b"x" * 70_000, "x" * 65_535 + "…"),
        (b"", ""),
    ],
)
def test_any_content_can_be_shown(content: bytes, text: str) -> None:
    assert acks.as_text(content) == text


@pytest.mark.django_db
@pytest.mark.parametrize("content", [bytes(range(256)), accepted(message="\0\ud800")])
def test_the_database_takes_what_is_shown(content: bytes) -> None:
    texts = [acks.as_text(content)]
    found = acks.read(ACK, content)
    if isinstance(found, Ack):
        texts.append(found.message or "")
    with connection.cursor() as cursor:
        for text in texts:
            cursor.execute("SELECT CAST(%s AS text)", [text])
            assert cursor.fetchone() == (text,)

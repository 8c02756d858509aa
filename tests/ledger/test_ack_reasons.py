"""The reasons of acks: stored as a code with values, worded when they are shown."""

import pytest

from exports.messages import Reason, message
from exports.models import ErpAck


def test_a_reason_is_worded_from_its_code_and_its_values() -> None:
    ack = ErpAck()
    ack.explain(Reason.OTHER_NUMBER, note="Asked the ERP team.", number="100 %s")
    assert (ack.reason_code, ack.reason_values) == ("OTHER_NUMBER", {"number": "100 %s"})
    assert ack.reason == ("Asked the ERP team. The ERP has given the order number 100 %s before.")


@pytest.mark.parametrize("note", ["", "The ERP has said so already."])
def test_a_sentence_of_an_earlier_release_is_shown_as_it_is(note: str) -> None:
    assert ErpAck(note=note).reason == note


@pytest.mark.parametrize("code", Reason)
def test_each_reason_has_a_sentence(code: str) -> None:
    values = dict.fromkeys(["filename", "number", "expected", "problem", "code"], "x")
    assert message(code, values) not in ("", code)


def test_a_code_of_a_newer_release_is_shown_as_a_code() -> None:
    assert message("FROM_LATER", {}) == "FROM_LATER"

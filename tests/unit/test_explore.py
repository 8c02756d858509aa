"""`make explore` says what it found, with which seed, and where the test of it belongs."""

import os

import pytest

from tests import explore


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A part whose property is broken; one round of it, by one process."""
    part = ("tests/data/broken_property.py", "tests/test_numbers.py")
    monkeypatch.setattr(explore, "PARTS", {"planted": part, **explore.PARTS})
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    monkeypatch.setenv("ONLY", "planted")
    monkeypatch.setenv("MINUTES", "0")


@pytest.mark.usefixtures("planted")
def test_a_finding_is_printed_with_its_seed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SEED", "5")
    assert explore.main() == 1
    told = capsys.readouterr().out
    assert told.startswith("seed 5, ")
    assert "number=1000," in told
    assert "FOUND by planted with seed 5" in told
    assert "make explore ONLY=planted SEED=5" in told
    assert "tests/test_numbers.py" in told


def test_the_parts_share_the_time_and_one_that_found_something_rests() -> None:
    exploration = explore.Exploration(["acks", "people"], next_seed=7, ends=float("inf"))
    assert exploration.next_round() == ("acks", 7)
    assert exploration.next_round() == ("people", 8)
    exploration.end_round("people", 8, seconds=1, output=None)
    exploration.end_round("acks", 7, seconds=5, output=None)
    assert exploration.next_round() == ("people", 9)
    exploration.end_round("people", 9, seconds=1, output="AssertionError")
    assert exploration.next_round() == ("acks", 10)
    assert exploration.found == ["people"]


def test_it_ends_when_the_time_is_over() -> None:
    exploration = explore.Exploration(["acks"], next_seed=7, ends=0)
    assert exploration.next_round() == ("acks", 7)
    assert exploration.next_round() is None


def test_an_unknown_part_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONLY", "acks,storage")
    with pytest.raises(SystemExit, match="there is no storage"):
        explore.main()


@pytest.mark.parametrize("part", explore.PARTS)
def test_every_part_has_its_test_and_a_place_for_findings(part: str) -> None:
    test, home = explore.PARTS[part]
    path, _, name = test.partition("::")
    assert f"def {name.partition('[')[0]}(" in (explore.ROOT / path).read_text()
    assert (explore.ROOT / home).exists()

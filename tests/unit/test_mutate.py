"""`make mutate`: it kills what a test notices, and shows what none does."""

from pathlib import Path

import pytest

from mutate.journal import records
from mutate.mutants import FragmentNotFound, Plan, named_mutants, sample, statement_lines
from mutate.run import Settings, run

ROOT = Path(__file__).parents[2]

PLAN = """
[own]
"tiny.py" = ["test_tiny.py"]

[[named]]
name = "ten is twenty"
path = "tiny.py"
find = "{find}"
replace = "return 20"
"""
# The test of `unwatched` looks at nothing.
TINY = """\
def watched():
    return 10


def unwatched():
    return 11


def endless(count):
    while count:
        count -= 1
"""
TESTS = """\
import tiny


def test_watched():
    assert tiny.watched() == 10


def test_unwatched():
    tiny.unwatched()


def test_endless():
    tiny.endless(3)
"""


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree with one module, its tests and a plan; no Django and no database."""
    (tmp_path / "mutate").mkdir()
    (tmp_path / "mutate" / "plan.toml").write_text(PLAN.format(find="return 10"))
    # Each change starts pytest: without these plugins it is there at once.
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\naddopts = -p no:django -p no:schemathesis -p no:hypothesispytest -p no:xdist\n"
    )
    (tmp_path / "tiny.py").write_text(TINY)
    (tmp_path / "test_tiny.py").write_text(TESTS)
    # An endless loop is to end soon.
    monkeypatch.setattr("mutate.baseline.START_LIMIT", 2)
    return tmp_path


def outcomes(tree: Path, settings: Settings) -> dict[str, str]:
    """What a run has recorded: the outcome by the line that a change puts in."""
    (log,) = (tree / "var" / "mutate").glob("*-results.jsonl")
    by_key = {record["key"]: record["outcome"] for record in records(log)}
    plan = Plan.read(tree / "mutate" / "plan.toml")
    made = sample(tree, plan, size=settings.sample, seed=settings.seed)
    return {
        mutant.source.splitlines()[mutant.line - 1].strip(): by_key[mutant.key] for mutant in made
    }


def test_it_kills_what_a_test_notices_and_shows_what_none_does(
    tiny: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(seed=1, sample=100)
    assert not run(tiny, settings)
    assert outcomes(tiny, settings) == {
        "return 20": "killed",
        "return 11": "killed",
        "return 12": "survived",
        "count = 1": "timeout",
        "count += 1": "timeout",
        # From three to one, and past the end.
        "count -= 2": "timeout",
    }
    shown = capsys.readouterr().out
    assert "survived: tiny.py:6" in shown and "+    return 12" in shown
    assert "the tests notice 83.3 %, the goal is 85 %" in shown
    assert (tiny / "tiny.py").read_text() == TINY

    # The same seed has nothing left to do. Enough is noticed now, and it says so.
    monkeypatch.setattr("mutate.run.copies", None)
    monkeypatch.setattr("mutate.run.GOAL", 80)
    assert run(tiny, settings)

    # A named change that survives counts, however many others are noticed.
    plan = tiny / "mutate" / "plan.toml"
    plan.write_text(PLAN.format(find="return 11").replace("return 20", "return 12"))
    assert not run(tiny, settings)
    assert "The tests miss a named change: ten is twenty" in capsys.readouterr().out


def test_it_goes_on_where_it_stopped(tiny: Path) -> None:
    run(tiny, Settings(seed=1, sample=2, workers=1))
    (log,) = (tiny / "var" / "mutate").glob("*-results.jsonl")
    before = log.read_text()
    # The process was killed while it wrote.
    log.write_text(before + '\n{"key": "3f')
    run(tiny, Settings(seed=1, sample=3, workers=1))
    assert log.read_text().startswith(before)
    assert len(records(log)) == 3


def test_a_test_that_fails_by_chance_notices_nothing(tiny: Path) -> None:
    (tiny / "mutate" / "plan.toml").write_text(PLAN.format(find="return 11"))
    by_chance = """
def test_every_second_time():
    import pathlib
    runs = pathlib.Path("runs")
    runs.write_text(runs.read_text() + "x" if runs.exists() else "x")
    assert len(runs.read_text()) % 2
"""
    (tiny / "test_tiny.py").write_text(TESTS + by_chance)
    settings = Settings(seed=1, sample=1, workers=1)
    run(tiny, settings)
    assert outcomes(tiny, settings) == {"return 20": "survived"}


def test_it_stops_at_the_deadline(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert not run(tiny, Settings(seed=1, sample=3, minutes=0, workers=1))
    assert "Not tried yet: 3. Continue with: make mutate SEED=1" in capsys.readouterr().out


def test_a_named_change_that_fits_no_more_is_said(tiny: Path) -> None:
    (tiny / "tiny.py").write_text(TINY.replace("return 10", "return 5 + 5"))
    with pytest.raises(FragmentNotFound, match="has the fragment 'return 10' 0 times"):
        run(tiny, Settings(seed=1))


def test_each_named_change_of_the_service_fits() -> None:
    assert len(named_mutants(ROOT, Plan.read(ROOT / "mutate" / "plan.toml"))) == 6


def test_a_seed_chooses_the_same_changes_again(tiny: Path) -> None:
    plan = Plan.read(tiny / "mutate" / "plan.toml")
    by_seed = [sample(tiny, plan, size=3, seed=seed) for seed in (1, 1, 2, 3)]
    assert by_seed[0] == by_seed[1]
    assert not by_seed[0] == by_seed[2] == by_seed[3]
    # The named one is in each.
    assert all("return 20" in chosen[0].source and len(chosen) == 3 for chosen in by_seed)


@pytest.mark.parametrize(
    "left_out",
    [
        'logger = getLogger("name")',
        'logger.info("%s: %s", 1, "text")',
        "x: Final[int | None]",
        'def f(a: "int | None") -> "int | None": pass',
        "assert a == b, 1",
        "@dataclass(frozen=True)\nclass A: pass",
        "isinstance(a, b)",
    ],
)
def test_what_cannot_matter_to_a_test_is_left_out(left_out: str, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(left_out)
    assert not sample(tmp_path, Plan({"a.py": []}, []), size=100, seed=1)


def test_a_sentence_is_not_worded_otherwise(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text('refuse("A_CODE", "A sentence for a person.")')
    changed = sample(tmp_path, Plan({"a.py": []}, []), size=100, seed=1)
    assert {mutant.source for mutant in changed} == {
        'refuse("XXA_CODEXX", "A sentence for a person.")',
        'refuse(None, "A sentence for a person.")',
        'refuse("A_CODE", None)',
        'refuse("A sentence for a person.")',
        'refuse("A_CODE", )',
    }


def test_the_ids_of_a_log_line_are_changed(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text('logger.info("%s", 1, extra=ids_of(export))')
    changed = sample(tmp_path, Plan({"a.py": []}, []), size=100, seed=1)
    assert ["extra=ids_of(None)" in mutant.source for mutant in changed] == [True]


@pytest.mark.parametrize(
    ("line", "lines"),
    [
        (1, None),
        (3, None),
        (4, range(4, 6)),
        (5, range(4, 6)),
        (6, range(6, 7)),
        (8, range(7, 10)),
    ],
)
def test_a_change_concerns_the_tests_that_run_its_statement(line: int, lines: range | None) -> None:
    source = """\
A = 1
@decorated
def f(a=1):
    if (a or
            b):
        c = 1
    return g(
        a,
    )
"""
    assert statement_lines(source, line) == lines

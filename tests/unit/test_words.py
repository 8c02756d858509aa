"""The words of the project: identifiers and phrases that were replaced do not come back."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Migrations and the changelog tell the past; dumps and their makers come from former releases.
PAST = (
    "/migrations/",
    "worker/schedules.py",
    "CHANGELOG.md",
    "tests/data/",
    "docs/images/",
    "docs/adr/",
)
THIS = ("test_words.py", "test_term_migrations.py", "test_audit.py")
TEXTS = {".py", ".html", ".md", ".yaml", ".yml", ".toml", ".txt", ".js", ".ini", ".service"}
# Each with the word that has taken its place.
IDENTIFIERS = {
    r"rung_at|ring_\w+|doorbell": "enqueued_at, wake",
    r"slow_since|slow lane|fast lane": "degraded",
    r"elected|election": "claimed, claim",
    r"settle_\w+|settled_\w+|SETTL\w+|is_settle\w*|NOT_SETTLEABLE": "resolve, move, committed",
    r"verdicts?|[jJ]udge\w*": "classification, classify",
    r"janitor|swept\w*|SWEPT": "cleanup, cleaned_up_at",
    r"Tally\w*|tally|tallies": "counter, counts",
    r"rehearsal": "dry run",
    r"announce_?\w*": "publish_event",
    r"objection|find_obstacle": "denial_reason, readiness_problem",
    r"patience": "connect_timeout",
    r"TrueOrFalse\w*|AnyOf\w*|in_words|as_read": "Boolean, MultipleChoice, humanize, with_if_match",
    r"Refused": "RuleViolation",
    r"deeds?": "audited action",
    r"nursery|diary|clerks?|weather": "fixtures, history, generator, nemesis",
}
PHRASES = {
    r"[Ss]ettled? by hand": "resolve manually",
    r"All quiet": "Nothing needs your attention",
    r"at most \d+ an hour": "peak: 8 per hour",
    r"[Nn]obody knows": "It is not known whether the file arrived",
    r"What came of them|What can follow|Why, for one of them": "Results, Next step, Example reason",
    r"no ERP takes for an order": "that ERPs ignore",
    r"have the ERP mended": "ask the ERP team to fix it",
    r"[Tt]ake no offence": "Ignore fields you do not know",
    r"comes? to light": "appear",
    r"[Aa]ck inbox": "acks to review",
    r"as that should be|that is as it should be": "say what is right",
}


def texts() -> list[tuple[str, str]]:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [
        (name, (ROOT / name).read_text())
        for name in listed.stdout.splitlines()
        if Path(name).suffix in TEXTS
        and not any(part in f"/{name}" for part in PAST)
        and not name.endswith(THIS)
        and (ROOT / name).exists()
    ]


@pytest.mark.parametrize(("words", "instead"), (IDENTIFIERS | PHRASES).items())
def test_a_replaced_word_does_not_come_back(words: str, instead: str) -> None:
    pattern = re.compile(rf"(?<![\w-])(?:{words})(?![\w-])")
    found = [
        f"{name}: {match.group()}" for name, text in texts() for match in pattern.finditer(text)
    ]
    assert found == [], f"write instead: {instead}"

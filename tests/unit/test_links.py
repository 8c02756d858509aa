"""Every page can be reached from the README, and no link leads nowhere."""

import re
from pathlib import Path

import pytest

from tests.support.processes import ROOT

README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def targets(page: Path) -> set[Path]:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())
    return {(page.parent / link).resolve() for link in links if "://" not in link}


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    assert {target for target in targets(page) if not target.exists()} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_anchors_are_headings(page: Path) -> None:
    links = re.findall(r"\]\(([^):]*)#([^)]+)\)", page.read_text())
    pages = [((page.parent / name if name else page), anchor) for name, anchor in links]
    assert [(there.name, anchor) for there, anchor in pages if anchor not in anchors(there)] == []


@pytest.mark.parametrize("folder", [ROOT / "docs", ROOT / "docs/adr"])
def test_every_page_is_linked(folder: Path) -> None:
    linked = targets(README) | targets(ROOT / "docs/adr/README.md")
    assert set(folder.glob("*.md")) - linked == set()


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.stem)
def test_every_page_says_whom_it_is_for(page: Path) -> None:
    assert re.match(r"# .+\n\nFor [^\n:]+(: [^\n]+)?\.\n\n", page.read_text())

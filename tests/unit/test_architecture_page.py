"""The page on the architecture names files that exist, and the apps and their order as they are."""

import re
import tomllib

from tests.support.processes import ROOT

PAGE = (ROOT / "docs/architecture.md").read_text()
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
LAYERS: list[str] = CONTRACTS["contracts"][0]["layers"]


def test_every_file_on_it_exists() -> None:
    named = set(re.findall(r"`([\w./]+(?:\.py|\.toml|/))`", PAGE))
    assert len(named) > 30
    assert {name for name in named if not (ROOT / name).exists()} == set()


def test_it_has_every_package_on_its_floor() -> None:
    floors = {p: 9 - i for i, layer in enumerate(LAYERS) for p in layer.split(" | ")}
    told = re.findall(r"^\| `(\w+)` \|.*\| (\d) \|$", PAGE, re.MULTILINE)
    assert {package: int(floor) for package, floor in told} == floors


def test_the_imports_go_as_it_says() -> None:
    (told,) = re.findall(r"`(orderflow → [^`]+)`", PAGE)
    assert told.split(" → ") == LAYERS


def test_the_contracts_make_no_exemptions() -> None:
    assert "ignore_imports" not in str(CONTRACTS)

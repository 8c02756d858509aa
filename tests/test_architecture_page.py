"""The page on the architecture names files that exist, and the apps and their order as they are."""

import re
import tomllib

from django.conf import settings

from tests.processes import ROOT

PAGE = (ROOT / "docs/architecture.md").read_text()


def test_every_file_on_it_exists() -> None:
    named = set(re.findall(r"`([\w./]+(?:\.py|\.toml|/))`", PAGE))
    assert len(named) > 30
    assert {name for name in named if not (ROOT / name).exists()} == set()


def test_it_has_every_app() -> None:
    apps = {app for app in settings.INSTALLED_APPS if (ROOT / app).is_dir()}
    told = set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))
    assert told == apps | {"orderflow"}


def test_the_imports_go_as_it_says() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = contracts["contracts"][0]["layers"]
    (told,) = re.findall(r"`(simulator → [^`]+)`", PAGE)
    assert told.split(" → ") == layers[: told.count("→") + 1]

"""Everybody can use the admin: axe-core finds no serious fault, wide and light, narrow and dark."""

from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.test import Client
from django.urls import resolve, reverse
from playwright.sync_api import Page, ViewportSize
from pytest_django.live_server_helper import LiveServer

from tests.support.admin_pages import Tags, a_full_house, every_page
from tests.support.browser import enter, watched

pytestmark = pytest.mark.django_db(transaction=True)

# Evaluated, not served: so no page needs another policy than the one that it has.
AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8")
SERIOUS = {"serious", "critical"}
OPTIONS = {
    "resultTypes": ["violations"],
    # What it needs for rules that are not on would break the policy.
    "preload": False,
}
# The label of Django's search box is an image with a text, which this rule does not count.
ALL_RULES = {"rules": {"label-title-only": {"enabled": False}}}
# Those whose outcome depends on colours and widths.
RULES_OF_LOOKS = {
    "runOnly": ["color-contrast", "link-in-text-block", "scrollable-region-focusable"]
}
LOOKS: tuple[tuple[Any, ViewportSize, dict[str, Any]], ...] = (
    ("light", {"width": 1280, "height": 800}, ALL_RULES),
    ("dark", {"width": 390, "height": 844}, RULES_OF_LOOKS),
)
# Colours that are still on their way to those of another theme do not count. The sidebar is
# the same on every page, but for the part that is about it. And the hints that Django's script puts
# beside the two lists of a user's permissions are not ours to mend.
_RUN = """options => {
  document.getAnimations().forEach(animation => animation.finish());
  const exclude = ["#nav-sidebar .module:not(.current-app)", ".selector .help-tooltip"];
  return axe.run({exclude}, options);
}"""


def test_no_page_has_a_serious_fault(
    page: Page, live_server: LiveServer, dropzone_root: Path
) -> None:
    client = Client()
    client.force_login(a_full_house(dropzone_root))
    faults = {}
    with watched(page.context):
        for url in (reverse("admin:login"), *_different(every_page(client))):
            page.goto(live_server.url + url)
            faults |= _faults(page)
            enter(page, live_server.url, client)
    assert faults == {}


def _different(pages: dict[str, str]) -> list[str]:
    """A page of each kind, and as many more as it takes to see every kind of element.

    The last word of a route says the kind: "history" is everywhere the same page of Django's.
    """
    routes: set[str] = set()
    seen: set[Any] = set()
    chosen = []
    for url, text in sorted(pages.items(), key=lambda page: -len(page[1])):
        route, kinds = resolve(urlsplit(url).path).url_name, Tags(text).classes
        kind = route.rpartition("_")[2]
        if kind not in routes or not kinds <= seen:
            chosen.append(url)
        routes.add(kind)
        seen |= kinds
    return chosen


def _faults(page: Page) -> dict[str, str]:
    page.evaluate(AXE)
    faults = {}
    for theme, size, rules in LOOKS:
        page.emulate_media(color_scheme=theme)
        page.set_viewport_size(size)
        for fault in page.evaluate(_RUN, {**OPTIONS, **rules})["violations"]:
            if fault["impact"] in SERIOUS:
                where = ", ".join(node["html"] for node in fault["nodes"][:3])
                faults[f"{page.url} {theme} {size['width']} {fault['id']}"] = where
    return faults

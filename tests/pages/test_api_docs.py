"""The API's description in a real browser."""

import pytest
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_shows_all_operations(
    page: Page, live_server: LiveServer, scheme: str, width: int
) -> None:
    failures: list[str] = []
    page.on("pageerror", lambda error: failures.append(error.message))
    # The policy lets nothing be loaded from elsewhere: that it is tried would be said here.
    page.on("requestfailed", lambda request: failures.append(request.url))
    page.on("console", lambda said: failures.append(said.text) if said.type != "log" else None)
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(f"{live_server.url}/api/docs")
    expect(page.get_by_role("heading", name="Orderflow exports")).to_be_visible()
    page.get_by_text("Push an approved order to the ERP", exact=True).click()
    expect(page.get_by_text("LIVE_EXPORT").first).to_be_visible()
    assert failures == []

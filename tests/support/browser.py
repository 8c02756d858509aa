"""Shared by tests in a real browser: the login, and the check that pages have no errors."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.test import Client
from playwright.sync_api import BrowserContext, ConsoleMessage, Page, Request, expect

# Machines that run tests are busy.
expect.set_options(timeout=30_000)

PASSWORD = "correct horse"

# A violation of the Content-Security-Policy is said on the console too, but not every one.
_TELL_VIOLATIONS = """
addEventListener("securitypolicyviolation", (event) =>
  console.error(`CSP: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`));
"""


@contextmanager
def watched(context: BrowserContext) -> Iterator[None]:
    """Fail at the end if a page had an error, broke its policy or lacked a file of its own."""
    failures: list[str] = []
    context.add_init_script(_TELL_VIOLATIONS)
    context.on("weberror", lambda failed: failures.append(str(failed.error)))

    def note_request(request: Request) -> None:
        # Aborted: the browser has left the page for the next one.
        if request.failure != "net::ERR_ABORTED":
            failures.append(request.url)

    def note_message(message: ConsoleMessage) -> None:
        if message.type == "error":
            failures.append(message.text)

    context.on("requestfailed", note_request)
    context.on("console", note_message)
    yield
    assert not failures, failures


def enter(page: Page, url: str, client: Client) -> None:
    """Let the browser be logged in at this address as a test client is."""
    name = settings.SESSION_COOKIE_NAME
    page.context.add_cookies([{"name": name, "value": client.cookies[name].value, "url": url}])


def log_in(page: Page, url: str, name: str) -> Page:
    """Log in to the admin at this address by the form; return the page."""
    page.goto(f"{url}/admin/")
    page.get_by_label("Username").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("link", name="Orders").first).to_be_visible()
    return page

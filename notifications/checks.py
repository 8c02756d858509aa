"""System checks: settings by which notifications could not be sent are found at start."""

from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register

from connectors.checks import network_errors


@register()
def check_denied_networks(**kwargs: Any) -> list[CheckMessage]:
    return network_errors("WEBHOOK_DENIED_NETWORKS", id="notifications.E001")


@register()
def check_mail(**kwargs: Any) -> list[CheckMessage]:
    found: list[CheckMessage] = []
    url = settings.PUBLIC_URL
    if url and (urlsplit(url).scheme not in ("http", "https") or url.endswith("/")):
        found.append(
            Error(
                f"PUBLIC_URL is {url}, from which no links can be made.",
                hint="Write it like https://orders.example.com, without a slash at the end.",
                id="notifications.E002",
            )
        )
    if settings.MAIL_BUNDLE_MINUTES < 1:
        found.append(
            Error(
                "MAIL_BUNDLE_MINUTES must be at least 1.",
                hint="Leave it out for 5 minutes.",
                id="notifications.E003",
            )
        )
    if settings.EMAIL_BACKEND == "django.core.mail.backends.smtp.EmailBackend" and not url:
        found.append(
            Warning(
                "EMAIL_URL is set, but PUBLIC_URL is not: mails lead nowhere.",
                hint="Set PUBLIC_URL to the address under which people reach the admin.",
                id="notifications.W001",
            )
        )
    return found

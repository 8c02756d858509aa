"""System checks: a limit that would lock out everybody, or stop no one, is found at start."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register

# The least value of each setting.
_LEAST = {
    "API_REQUESTS_PER_MINUTE": 0,
    "WRONG_TOKENS_PER_MINUTE": 1,
    "FAILED_LOGINS_PER_USER": 1,
    "FAILED_LOGINS_PER_ADDRESS": 1,
    "TRUSTED_PROXIES": 0,
}


@register()
def check_limits(**kwargs: Any) -> list[CheckMessage]:
    found: list[CheckMessage] = [
        Error(
            f"{name} is {value}, but must be at least {least}.",
            hint=f"Set {name} to {least} or more, or leave it out.",
            id="accounts.E001",
        )
        for name, least in _LEAST.items()
        if (value := getattr(settings, name)) < least
    ]
    if settings.FAILED_LOGINS_PER_ADDRESS < settings.FAILED_LOGINS_PER_USER:
        found.append(
            Error(
                "FAILED_LOGINS_PER_ADDRESS is less than FAILED_LOGINS_PER_USER: one person would "
                "lock out everybody at the same address.",
                hint="Raise FAILED_LOGINS_PER_ADDRESS, or lower FAILED_LOGINS_PER_USER.",
                id="accounts.E002",
            )
        )
    if settings.SECURE_PROXY_SSL_HEADER and not settings.TRUSTED_PROXIES:
        found.append(
            Warning(
                "TRUST_X_FORWARDED_PROTO is set, but TRUSTED_PROXIES is 0: all clients of the "
                "proxy count as one address, and one of them can lock out the others.",
                hint="Set TRUSTED_PROXIES to the number of proxies.",
                id="accounts.W001",
            )
        )
    return found

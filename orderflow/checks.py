"""System checks of the project: settings that are dangerous together are found at start."""

from typing import Any, Final

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register

_MINIMUM_KEY_LENGTH: Final = 50
_MINIMUM_DIFFERENT_CHARACTERS: Final = 5
_LOCAL_HOSTS: Final = frozenset({"localhost", ".localhost", "127.0.0.1", "[::1]"})


@register(Tags.security)
def check_secret_key(**kwargs: Any) -> list[CheckMessage]:
    key = settings.SECRET_KEY
    if len(key) >= _MINIMUM_KEY_LENGTH and len(set(key)) >= _MINIMUM_DIFFERENT_CHARACTERS:
        return []
    return [
        Error(
            f"SECRET_KEY has less than {_MINIMUM_KEY_LENGTH} characters, or few different ones: "
            "whoever guesses it can sign in as anybody.",
            hint='Make one with: python -c "import secrets; print(secrets.token_urlsafe(50))"',
            id="orderflow.E001",
        )
    ]


@register(Tags.security)
def check_debug(**kwargs: Any) -> list[CheckMessage]:
    hosts = [host for host in settings.ALLOWED_HOSTS if host not in _LOCAL_HOSTS]
    if not settings.DEBUG or not hosts:
        return []
    return [
        Error(
            f"DEBUG is on, but ALLOWED_HOSTS has {', '.join(hosts)}: error pages would show the "
            "code and its values to others, and passwords would travel in the clear.",
            hint="Turn DEBUG off, or allow only localhost.",
            id="orderflow.E002",
        )
    ]


@register(Tags.caches)
def check_cache(**kwargs: Any) -> list[CheckMessage]:
    backend = settings.CACHES["default"]["BACKEND"]
    if settings.DEBUG or not backend.endswith(".LocMemCache"):
        return []
    return [
        Warning(
            "The cache lies in the memory of each process: what one puts there, no other sees.",
            hint="Leave CACHE_URL away, or name a cache that all processes share.",
            id="orderflow.W001",
        )
    ]

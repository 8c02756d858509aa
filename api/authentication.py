"""Bearer tokens: which user and organisation a request acts for. Cookies are ignored."""

from django.conf import settings
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed, Throttled
from rest_framework.request import Request

from accounts import throttling
from accounts.models import ApiToken, User
from accounts.tokens import find_token

_MINUTE = 60


class BearerTokenAuthentication(BaseAuthentication):
    """Sets request.user to the token's user and request.auth to the token.

    Requests are counted here and not by a throttle of DRF, which comes after the permissions:
    what is forbidden counts too.
    """

    def authenticate(self, request: Request) -> tuple[User, ApiToken] | None:
        parts = get_authorization_header(request).split()
        if not parts or parts[0].lower() != b"bearer":
            return None
        token = find_token(parts[1].decode("ascii", "replace")) if len(parts) == 2 else None
        if token is None:
            # A right token works whatever its neighbours behind the same address do.
            if wait := throttling.count(
                "wrong tokens",
                throttling.client_address(request),
                limit=settings.WRONG_TOKENS_PER_MINUTE,
                seconds=_MINUTE,
            ):
                raise Throttled(
                    wait, "Too many wrong tokens; this one is unknown, expired or revoked."
                )
            raise AuthenticationFailed("The token is unknown, expired or revoked.")
        if settings.API_REQUESTS_PER_MINUTE and (
            wait := throttling.count(
                "API requests",
                str(token.id),
                limit=settings.API_REQUESTS_PER_MINUTE,
                seconds=_MINUTE,
            )
        ):
            raise Throttled(wait, "Too many requests with this token.")
        return token.user, token

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="orderflow"'

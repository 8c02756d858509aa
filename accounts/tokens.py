"""API tokens: create, find and revoke them."""

import hashlib
import secrets
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone

from accounts import audit
from accounts.audit import Action
from accounts.models import ApiToken, Membership, Org, User

LIFETIME = timedelta(days=365)
_LAST_USED_RESOLUTION = timedelta(minutes=1)


def create_token(
    user: User,
    *,
    org: Org,
    name: str,
    expires_at: datetime | None = None,
    actor: User | None = None,
) -> tuple[ApiToken, str]:
    """Return the new token's row and its text. The text is not kept: show it now or never.

    Raises ValueError if the token would be dead: the user is inactive or not a member of the org.
    """
    if not user.is_active:
        raise ValueError(f"{user} is not active: the token would not work.")
    if not user.memberships.filter(org=org).exists():
        raise ValueError(f"{user} is not a member of {org}: the token would not work.")
    text = f"oft_{secrets.token_urlsafe(32)}"
    with transaction.atomic():
        token = ApiToken.objects.create(
            user=user,
            org=org,
            name=name,
            prefix=text[:8],
            digest=_digest(text),
            expires_at=expires_at or timezone.now() + LIFETIME,
        )
        after = {"user": user.contact, "expires_at": token.expires_at}
        audit.record(Action.TOKEN_CREATED, token, actor=actor, after=after)
    return token, text


def find_token(text: str) -> ApiToken | None:
    """Return the live token with this text, its user and org loaded; None if there is none.

    A token dies with its expiry, its revocation, its user's account and its user's membership.
    """
    now = timezone.now()
    belongs = Membership.objects.filter(user=OuterRef("user"), org=OuterRef("org"))
    live = ApiToken.objects.filter(
        Exists(belongs), expires_at__gt=now, revoked_at=None, user__is_active=True
    )
    token = live.select_related("user", "org").filter(digest=_digest(text)).first()
    if token is None:
        return None
    if token.last_used_at is None or token.last_used_at < now - _LAST_USED_RESOLUTION:
        ApiToken.objects.filter(id=token.id).update(last_used_at=now)
    return token


def revoke_token(token: ApiToken, *, actor: User) -> bool:
    """Revoke at once. Return False if it was revoked before."""
    with transaction.atomic():
        live = ApiToken.objects.filter(id=token.id, revoked_at=None)
        if not live.update(revoked_at=timezone.now()):
            return False
        audit.record(Action.TOKEN_REVOKED, token, actor=actor)
    return True


def _digest(text: str) -> str:
    # A token carries 256 random bits, so a fast hash is enough and an index finds it.
    return hashlib.sha256(text.encode()).hexdigest()

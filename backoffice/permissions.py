"""Who sends a request to the admin, and whether this person may do something."""

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest

from accounts.models import User


def person(request: HttpRequest) -> User:
    """The user of a request. The admin has no pages for anonymous users besides the login."""
    assert isinstance(request.user, User)
    return request.user


def require(request: HttpRequest, permission: str) -> None:
    """Raises PermissionDenied unless the user has the permission."""
    if not request.user.has_perm(permission):
        raise PermissionDenied

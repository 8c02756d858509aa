"""Permissions: every action of a view declares the Django permission that it needs."""

from typing import Any

from rest_framework.permissions import BasePermission
from rest_framework.request import Request


class DeclaredPermission(BasePermission):
    """Asks for `view.permissions[action]`; an action without a declared permission is refused."""

    def has_permission(self, request: Request, view: Any) -> bool:
        if request.auth is None:
            return False
        declared: dict[str, str] = getattr(view, "permissions", {})
        # A method that is not offered has no action; the view answers 405 itself.
        if view.action is None or request.method == "OPTIONS":
            return True
        permission = declared.get(view.action)
        return permission is not None and request.user.has_perm(permission)

"""The login of the admin: the audit log has the attempts, and too many have to wait."""

from datetime import timedelta
from typing import Any, Final

from django.conf import settings
from django.contrib.admin import AdminSite
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.core.exceptions import ValidationError
from django.db import transaction
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.translation import gettext

from accounts import audit, throttling
from accounts.audit import Action
from accounts.models import User
from kernel.durations import humanize

WINDOW: Final = timedelta(minutes=15)
_BY_ADDRESS = "logins by address"
_BY_USER = "logins by address and user name"


class TooManyLogins(Exception):
    def __init__(self, seconds: int) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class LoginForm(AdminAuthenticationForm):
    """Raises TooManyLogins after too many failures, before it checks the password.

    A user name is blocked only at the address where the failures came from, so that nobody can lock
    out another user from elsewhere. Each attempt counts until it succeeds, so that simultaneous
    attempts cannot pass the limit.
    """

    def clean(self) -> dict[str, Any]:
        name = self.cleaned_data.get("username")
        if not name or not self.cleaned_data.get("password"):
            return super().clean()
        assert self.request is not None
        address = throttling.client_address(self.request)
        seconds = int(WINDOW.total_seconds())
        if wait := throttling.count(
            _BY_ADDRESS, address, limit=settings.FAILED_LOGINS_PER_ADDRESS, seconds=seconds
        ):
            raise TooManyLogins(wait)
        if wait := throttling.count(
            _BY_USER, address, name, limit=settings.FAILED_LOGINS_PER_USER, seconds=seconds
        ):
            # Attempts with one blocked user name do not use up the limit of the address.
            throttling.take_back(_BY_ADDRESS, address)
            raise TooManyLogins(wait)
        try:
            cleaned = super().clean()
        except ValidationError:
            # An unknown name is not stored: people type passwords into this field.
            named = User.objects.filter(username=name).first()
            audit.record(Action.LOGIN_FAILED, named, actor=None)
            raise
        throttling.take_back(_BY_ADDRESS, address)
        throttling.forget(_BY_USER, address, name)
        return cleaned


class ThrottledLoginSite(AdminSite):
    login_form = LoginForm

    def login(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        try:
            return super().login(request, extra_context)
        except TooManyLogins as e:
            return TemplateResponse(
                request,
                "admin/too_many_logins.html",
                {
                    **self.each_context(request),
                    "title": gettext("Too many failed logins"),
                    "wait": humanize(timedelta(seconds=e.seconds)),
                },
                status=429,
                headers={"Retry-After": str(e.seconds)},
            )

    def password_change(  # type: ignore[override]  # it redirects, too
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        user = request.user
        assert isinstance(user, User)
        with transaction.atomic():
            response = super().password_change(request, extra_context)
            if isinstance(response, HttpResponseRedirect):
                audit.record(Action.PASSWORD_CHANGED, user, actor=user)
        return response


@receiver(user_logged_in)
def _record_login(user: User, **kwargs: Any) -> None:
    audit.record(Action.LOGIN_SUCCEEDED, user, actor=user)


@receiver(user_logged_out)
def _record_logout(user: User | None, **kwargs: Any) -> None:
    if user is not None:
        audit.record(Action.LOGGED_OUT, user, actor=user)

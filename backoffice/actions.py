"""Actions on one object: a page says what an action will do, a POST does it.

An admin lists its actions. The URL, the confirmation page and the button on the object's page all
follow from the declaration.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from uuid import UUID

from django import forms
from django.contrib import messages
from django.db.models import Model
from django.http import HttpRequest, QueryDict
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from backoffice.forms import LongText
from backoffice.pages import Page, confirmation, url_of
from backoffice.permissions import person, require
from backoffice.texts import Text
from kernel.errors import RuleViolation

if TYPE_CHECKING:
    from backoffice.scoping import OrgScopedAdmin

M = TypeVar("M", bound=Model)


class ReasonForm(forms.Form):
    reason = forms.CharField(
        max_length=500, widget=LongText, help_text=_("It is kept, with your name.")
    )


def ask_reason(obj: Model, actor: User, data: QueryDict | None) -> forms.Form:
    return ReasonForm(data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted(Generic[M]):
    """A confirmed action: what a service needs to carry it out. `data` is the cleaned form."""

    model_admin: "OrgScopedAdmin[M]"
    request: HttpRequest
    obj: M
    actor: User
    form: forms.Form | None

    @property
    def data(self) -> Mapping[str, Any]:
        return self.form.cleaned_data if self.form else {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What an action has done, where its declaration does not say it. `page` is shown next."""

    message: str = ""
    history: str = ""
    page: HttpResponseBase | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Button:
    label: str
    url: str
    is_primary: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectAction(Generic[M]):
    """Something that a person can do with one object.

    The page shows `sentences`, filled with `facts` about the object, and what `preview` gives to
    its template. `denial` says why the action is not possible now: the page then says only this,
    without a button. `service` does it; `done` is the message afterwards, `history` a line in the
    history of the object, unless the service knows more and returns Done. Each of these functions
    may raise RuleViolation: the person then reads why on the page of the object.
    """

    name: str
    label: Text | Callable[[M], str]
    permission: str | Callable[[M], str]
    sentences: Sequence[Text]
    facts: Callable[[M], Mapping[str, object]] = lambda obj: {}
    service: Callable[[Submitted[M]], object]
    done: Text = ""
    history: str = ""
    denial: Callable[[M], str] = lambda obj: ""
    form: Callable[[M, User, QueryDict | None], forms.Form] | None = None
    preview: Callable[[M, User], Mapping[str, object]] | None = None
    template: str = "admin/confirm.html"
    is_offered: Callable[[M], bool] = lambda obj: True
    is_primary: Callable[[M], bool] = lambda obj: False

    @property
    def page(self) -> Page:
        return Page(name=self.name, route=f"<uuid:pk>/{self.name}/", view=self._view)

    def button(self, obj: M, actor: User) -> Button | None:
        """The button on the page of an object; None if this person cannot do it there now."""
        if not (actor.has_perm(self._permission(obj)) and self.is_offered(obj)):
            return None
        return Button(
            label=self._label(obj), url=url_of(obj, self.name), is_primary=self.is_primary(obj)
        )

    def _view(
        self, model_admin: "OrgScopedAdmin[M]", request: HttpRequest, pk: UUID
    ) -> HttpResponseBase:
        obj = model_admin.get_or_404(request, pk)
        require(request, self._permission(obj))
        actor, is_post = person(request), request.method == "POST"
        form = self.form(obj, actor, request.POST if is_post else None) if self.form else None
        denial, facts = self.denial(obj), self.facts(obj)
        try:
            if not is_post or (form and not form.is_valid()):
                return confirmation(
                    model_admin,
                    request,
                    title=self._label(obj),
                    sentences=[denial] if denial else [str(s % facts) for s in self.sentences],
                    submit="" if denial else self._label(obj),
                    back=url_of(obj),
                    template=self.template,
                    original=obj,
                    form=None if denial else form,
                    **(self.preview(obj, actor) if self.preview else {}),
                )
            if denial:
                raise RuleViolation("DENIED", denial)
            result = self.service(
                Submitted(model_admin=model_admin, request=request, obj=obj, actor=actor, form=form)
            )
        except RuleViolation as e:
            model_admin.message_user(request, e.message, messages.ERROR)
            return redirect(url_of(obj))
        declared = Done(message=str(self.done), history=self.history)
        done = result if isinstance(result, Done) else declared
        if done.history:
            model_admin.log_change(request, obj, done.history)
        if done.message:
            model_admin.message_user(request, done.message, messages.SUCCESS)
        return done.page or redirect(url_of(obj))

    def _permission(self, obj: M) -> str:
        return self.permission if isinstance(self.permission, str) else self.permission(obj)

    def _label(self, obj: M) -> str:
        return self.label(obj) if callable(self.label) else str(self.label)

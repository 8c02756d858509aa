"""Pages of the admin besides Django's own: how they are declared, drawn and linked to."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page about a model or one object.

    `view` takes the model's admin, the request, and what `route` captures by name. The name of the
    URL is <app>_<model>_<name>.
    """

    name: str
    route: str
    view: Callable[..., HttpResponseBase]


def url_of(obj: Model, page: str = "change") -> str:
    """The address of a page of an object."""
    meta = obj._meta
    return reverse(f"admin:{meta.app_label}_{meta.model_name}_{page}", args=[obj.pk])


def link(obj: Model) -> SafeString:
    return format_html('<a href="{}">{}</a>', url_of(obj), obj)


def draw(
    model_admin: "admin.ModelAdmin[Any]",
    request: HttpRequest,
    template: str,
    *,
    title: str,
    **context: Any,
) -> TemplateResponse:
    """A page in the frame of the admin; `original` in the context is the object it is about."""
    request.current_app = model_admin.admin_site.name
    return TemplateResponse(
        request,
        template,
        {
            **model_admin.admin_site.each_context(request),
            "opts": model_admin.opts,
            "media": model_admin.media,
            "title": title,
            **context,
        },
    )


def confirmation(
    model_admin: "admin.ModelAdmin[Any]",
    request: HttpRequest,
    *,
    title: str,
    sentences: Iterable[str],
    submit: str,
    back: str,
    template: str = "admin/confirm.html",
    **context: Any,
) -> TemplateResponse:
    """A page that says what a POST to the same address will do. It changes nothing itself.

    Context: `form` for what a person enters, `items` for a list below the sentences, `hidden` pairs
    of names and values. Without `submit` the page has no button.
    """
    return draw(
        model_admin,
        request,
        template,
        title=title,
        sentences=sentences,
        submit=submit,
        back=back,
        **context,
    )

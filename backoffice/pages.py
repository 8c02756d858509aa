"""Pages of an object besides its form: any page of its own, and those that confirm a POST."""

from collections.abc import Iterable
from typing import Any

from django import forms
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from backoffice.forms import LongText
from backoffice.lists import ListAdmin


def link(name: str, obj: Model) -> SafeString:
    """A link to the page of an object, under the name of that page's URL."""
    return format_html('<a href="{}">{}</a>', reverse(name, args=[obj.pk]), obj)


class PagesAdmin(ListAdmin):
    """Draws pages in the frame of the admin, with the context that each of them needs."""

    def object_context(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        """What the page of an object says besides its form."""
        return {}

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Any | None = None,
    ) -> HttpResponse:
        if obj is not None:
            context.update(self.object_context(request, obj))
        return super().render_change_form(request, context, add, change, form_url, obj)

    def page(
        self, request: HttpRequest, template: str, *, title: str, **context: Any
    ) -> TemplateResponse:
        """A page of this admin; `original` in the context is the object that it is about."""
        request.current_app = self.admin_site.name
        return TemplateResponse(
            request,
            template,
            {
                **self.admin_site.each_context(request),
                "opts": self.opts,
                "media": self.media,
                "title": title,
                **context,
            },
        )

    def confirmation(
        self,
        request: HttpRequest,
        *,
        title: str,
        paragraphs: Iterable[str],
        submit: str,
        back: str,
        original: Model | None = None,
        template: str = "admin/confirm.html",
        **context: Any,
    ) -> TemplateResponse:
        """A page that says what a POST to this same address will do. It changes nothing itself.

        Context: `form` for what has to be entered, `hidden` pairs of names and values.
        """
        return self.page(
            request,
            template,
            title=title,
            paragraphs=paragraphs,
            submit=submit,
            back=back,
            original=original,
            **context,
        )


class ReasonForm(forms.Form):
    reason = forms.CharField(
        max_length=500, widget=LongText, help_text="It is kept, with your name."
    )

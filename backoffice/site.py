"""The admin site: what every page of it has, and the search for an order."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.core.exceptions import BadRequest, PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, URLResolver, path
from django.utils.translation import gettext

from backoffice.badges import order_badge, outlook_badges
from backoffice.searching import SearchForm
from backoffice.start.page import StartPage
from connectors import ownership
from exports.models import ErpExport
from exports.reporting.outlook import Circumstances, outlook
from exports.reporting.search import MOST, find_orders
from orders.models import DraftOrder


class OrderflowAdminSite(StartPage):
    # There is no other site to view.
    site_url = None

    def admin_view(self, view: Callable[..., Any], cacheable: bool = False) -> Any:
        @wraps(view)
        def checked(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            # PostgreSQL fails on a text with a NUL character. Searches check their own text.
            if any(
                "\0" in text
                for name in request.GET.keys() - {"q"}
                for text in request.GET.getlist(name)
            ):
                raise BadRequest(gettext("The address has a NUL character. Remove it."))
            return view(request, *args, **kwargs)

        return super().admin_view(checked, cacheable)

    def get_urls(self) -> list[URLPattern | URLResolver]:
        return [
            path("search/", self.admin_view(self.search_view), name="search"),
            *super().get_urls(),
        ]

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        context = super().each_context(request)
        if context["has_permission"]:
            context["other_instance"] = ownership.denial_reason()
        return context

    def search_view(self, request: HttpRequest) -> HttpResponse:
        """GET ?q=<text>. A complete order number that finds one order leads to its page."""
        if not self._may_see(request, DraftOrder):
            raise PermissionDenied
        form = SearchForm(request.GET)
        text = form.cleaned_data["q"] if form.is_valid() else ""
        sees_exports = self._may_see(request, ErpExport)
        found = find_orders(request.user, text, in_exports=sees_exports) if text else []
        if len(found) == 1 and found[0][0].external_order_number == text:
            return redirect("admin:orders_draftorder_change", found[0][0].pk)
        circumstances = Circumstances()
        outlooks = {
            export.pk: outlook(export, circumstances) for _, export in found if export is not None
        }
        return TemplateResponse(
            request,
            "admin/search.html",
            {
                **self.each_context(request),
                "title": gettext("Search"),
                "search": form,
                "text": text,
                "sees_exports": sees_exports,
                "found": [
                    (
                        order,
                        order_badge(order),
                        export,
                        export and outlook_badges(export, outlooks[export.pk]),
                        export and outlooks[export.pk],
                    )
                    for order, export in found
                ],
                "most": MOST if len(found) == MOST else None,
            },
        )

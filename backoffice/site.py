"""The admin site: its start page, and the search for an order. What they say is the services'."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import wraps
from typing import Any, Final
from urllib.parse import urlencode

from django import forms
from django.core.exceptions import BadRequest, PermissionDenied
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, URLResolver, path, reverse
from django.utils.formats import date_format
from django.utils.safestring import SafeString

from accounts.scoping import visible_orgs
from backoffice.charts import Bar, bar_chart
from backoffice.login import ThrottledLoginSite
from backoffice.searching import MAX_CHARACTERS, validate_search
from backoffice.start import figures
from backoffice.start.figures import ConnectionHealth, Tally
from connectors import ownership
from connectors.models import ErpConnection
from exports.delivery import heartbeat
from exports.models import ErpAck, ErpExport
from exports.reporting.search import MOST, find_orders
from kernel.db import db_now
from kernel.durations import in_words
from orders.models import DraftOrder

# What is said of one and of many: in which status or with which verdict.
_ORDERS: Final = {
    DraftOrder.Status.NEEDS_REVIEW: ("needs review", "need review"),
    DraftOrder.Status.READY: ("waits for approval", "wait for approval"),
    DraftOrder.Status.APPROVED: ("approved, not pushed yet", "approved, not pushed yet"),
    DraftOrder.Status.PUSHING: ("on its way", "on their way"),
}
_FAILED: Final = (
    "order failed: not delivered, or refused",
    "orders failed: not delivered, or refused",
)
_UNKNOWN: Final = ("export with an unknown outcome", "exports with an unknown outcome")
_OVERDUE: Final = ("answer of an ERP is overdue", "answers of ERPs are overdue")
_PAUSED: Final = ("connection is paused", "connections are paused")
_ACKS: Final = {
    ErpAck.Verdict.CONFLICT: (
        "answer contradicts an earlier one",
        "answers contradict earlier ones",
    ),
    ErpAck.Verdict.LATE: ("answer to an older export", "answers to older exports"),
    ErpAck.Verdict.UNMATCHED: ("answer matches no export", "answers match no export"),
    ErpAck.Verdict.MALFORMED: ("malformed answer", "malformed answers"),
}


class SearchForm(forms.Form):
    q = forms.CharField(
        label="Where is my order?",
        validators=[validate_search],
        required=False,
        help_text="The order number or how it begins, the ERP’s number, the customer’s number or "
        "how the name begins, or the name of an exported file.",
        widget=forms.TextInput({"type": "search", "maxlength": MAX_CHARACTERS}),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A count of things, what is to be said of them, and the list that has just these."""

    count: int
    text: str
    url: str

    @property
    def number(self) -> str:
        return f"{self.count:,}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Exports by time: `rows` say the same as the drawing."""

    title: str
    sent: str
    failed: str
    peak: str
    drawing: SafeString
    rows: list[tuple[str, Tally]]


class OrderflowAdminSite(ThrottledLoginSite):
    index_title = "Dashboard"
    # There is no other site to view.
    site_url = None

    def admin_view(self, view: Callable[..., Any], cacheable: bool = False) -> Any:
        @wraps(view)
        def checked(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            # No text has a NUL, and PostgreSQL breaks off a query that looks for one. Searches
            # check their own text.
            if any(
                "\0" in text
                for name in request.GET.keys() - {"q"}
                for text in request.GET.getlist(name)
            ):
                raise BadRequest("The address has a NUL character, which no text has.")
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
            context["other_instance"] = ownership.objection()
        return context

    def index(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> TemplateResponse:
        user, now = request.user, db_now()
        sees_exports = self._may_see(request, ErpExport)
        context: dict[str, Any] = {
            "has_worker": heartbeat.alive().exists(),
        }
        counts: Mapping[str, int] = {}
        if self._may_see(request, DraftOrder):
            counts = figures.count_open_orders(user)
            context["search"] = SearchForm()
            context["orders"] = [
                _figure(counts.get(status, 0), *texts, DraftOrder, status__exact=status)
                for status, texts in _ORDERS.items()
            ]
        waiting = self._waiting(request, failed=counts.get(DraftOrder.Status.ERROR, 0))
        context["waiting"] = [figure for figure in waiting if figure.count]
        if self._may_see(request, ErpAck):
            context["unmatched"] = figures.latest_unmatched(user)
        context["sees_anything"] = bool(context["waiting"]) or self._sees_anything(request)
        if sees_exports:
            traffic = figures.traffic(user, now=now)
            context["charts"] = [
                _chart("Last 24 hours", traffic.hours, traffic.last_24_hours, "H:i", "an hour"),
                _chart("Last 7 days", traffic.days, traffic.last_7_days, "D j M", "a day"),
            ]
        if sees_exports and self._may_see(request, ErpConnection):
            context["connections"] = [
                self._health(health, now) for health in figures.connection_health(user, now=now)
            ]
            context["sees_acks"] = self._may_see(request, ErpAck)
        return super().index(request, {**context, **(extra_context or {})})

    def _waiting(self, request: HttpRequest, *, failed: int) -> Iterator[Figure]:
        """What waits for a person, as far as the user may see it, also what there is none of."""
        user = request.user
        yield _figure(failed, *_FAILED, DraftOrder, status__exact=DraftOrder.Status.ERROR)
        if self._may_see(request, ErpExport):
            yield _figure(figures.count_undecided(user), *_UNKNOWN, ErpExport, needs_decision="yes")
            yield _figure(figures.count_overdue(user), *_OVERDUE, ErpExport, overdue="yes")
        if self._may_see(request, ErpConnection):
            paused = figures.count_paused(user)
            yield _figure(paused, *_PAUSED, ErpConnection, active__exact=1, paused="yes")
        if self._may_see(request, ErpAck):
            verdicts = figures.count_open_acks(user)
            for verdict, texts in _ACKS.items():
                count = verdicts.get(verdict, 0)
                yield _figure(count, *texts, ErpAck, open="yes", verdict__exact=verdict)

    def search_view(self, request: HttpRequest) -> HttpResponse:
        """GET ?q=<text>; an order's whole number leads straight to it if nothing else is found."""
        if not self._may_see(request, DraftOrder):
            raise PermissionDenied
        form = SearchForm(request.GET)
        text = form.cleaned_data["q"] if form.is_valid() else ""
        sees_exports = self._may_see(request, ErpExport)
        found = find_orders(request.user, text, in_exports=sees_exports) if text else []
        if len(found) == 1 and found[0][0].external_order_number == text:
            return redirect("admin:orders_draftorder_change", found[0][0].pk)
        order_admin = self.get_model_admin(DraftOrder)
        export_admin = self.get_model_admin(ErpExport)
        return TemplateResponse(
            request,
            "admin/search.html",
            {
                **self.each_context(request),
                "title": "Search",
                "search": form,
                "text": text,
                "sees_exports": sees_exports,
                "found": [
                    (
                        order,
                        order_admin.status_badge(order),  # type: ignore[attr-defined]
                        export,
                        export and export_admin.status_badge(export),  # type: ignore[attr-defined]
                    )
                    for order, export in found
                ],
                "most": MOST if len(found) == MOST else None,
            },
        )

    def _sees_anything(self, request: HttpRequest) -> bool:
        has_org = request.user.is_superuser or visible_orgs(request.user).exists()
        return has_org and bool(self.get_app_list(request))

    def _may_see(self, request: HttpRequest, model: type[Model]) -> bool:
        return self.get_model_admin(model).has_view_permission(request)

    def _health(self, health: ConnectionHealth, now: datetime) -> dict[str, Any]:
        """What the page says of a connection."""
        connection_admin = self.get_model_admin(ErpConnection)
        connection, hours = health.connection, health.traffic.hours
        return {
            "connection": connection,
            "state": connection_admin.state(connection),  # type: ignore[attr-defined]
            "rates": [
                ("24 h", _percent(health.traffic.last_24_hours)),
                ("7 days", _percent(health.traffic.last_7_days)),
            ],
            "p95": health.latency and in_words(health.latency.p95),
            "ages": {
                name: (at, in_words(now - at))
                for name in ("oldest_waiting", "last_sent", "last_ack")
                if (at := getattr(health, name))
            },
            "drawing": bar_chart(
                [
                    Bar(label=f"{date_format(hour, 'H:i')}: {tally.sent:,} sent", good=tally.sent)
                    for hour, tally in hours.items()
                ],
                label=f"Sent in each of the last 24 hours, "
                f"{health.traffic.last_24_hours.sent:,} together",
            ),
        }


def _figure(count: int, one: str, many: str, model: type[Model], **filters: object) -> Figure:
    meta = model._meta
    url = reverse(f"admin:{meta.app_label}_{meta.model_name}_changelist")
    return Figure(count=count, text=one if count == 1 else many, url=f"{url}?{urlencode(filters)}")


def _chart(
    title: str, tallies: Mapping[datetime, Tally], total: Tally, when: str, unit: str
) -> Chart:
    rows = [(date_format(at, when), tally) for at, tally in tallies.items()]
    return Chart(
        title=title,
        sent=f"{total.sent:,} sent",
        failed=f"{total.failed:,} failed",
        peak=f"at most {max(tally.sent + tally.failed for tally in tallies.values()):,} {unit}",
        drawing=bar_chart(
            [
                Bar(
                    label=f"{name}: {tally.sent:,} sent, {tally.failed:,} failed",
                    good=tally.sent,
                    bad=tally.failed,
                )
                for name, tally in rows
            ],
            label=f"{title}: {total.sent:,} sent, {total.failed:,} failed",
        ),
        rows=rows,
    )


def _percent(tally: Tally) -> str:
    """Never 100 % when something has failed, nor 0 % when something was sent."""
    if tally.success is None:
        return ""
    percent = 100 * tally.success
    return f"{percent:.0f} %" if percent in (0, 100) else f"{min(max(percent, 0.1), 99.9):.1f} %"

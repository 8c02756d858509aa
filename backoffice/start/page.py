"""The start page of the admin: what needs a person, how deliveries go, how each connection is."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode

from django.db.models import Model
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.formats import date_format
from django.utils.safestring import SafeString

from accounts.scoping import visible_orgs
from backoffice.charts import Bar, bar_chart
from backoffice.connections.state import state
from backoffice.login import ThrottledLoginSite
from backoffice.searching import SearchForm
from backoffice.start import figures
from backoffice.start.figures import ConnectionHealth, Counts
from connectors.models import ErpConnection
from exports.delivery import heartbeat
from exports.models import ErpAck, ErpExport
from kernel.db import db_now
from kernel.durations import humanize
from orders.models import DraftOrder

# What is said of one and of many: in which status or with which classification.
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
    ErpAck.Classification.CONFLICT: (
        "answer contradicts an earlier one",
        "answers contradict earlier ones",
    ),
    ErpAck.Classification.LATE: ("answer to an older export", "answers to older exports"),
    ErpAck.Classification.UNMATCHED: ("answer matches no export", "answers match no export"),
    ErpAck.Classification.MALFORMED: ("malformed answer", "malformed answers"),
}


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
    rows: list[tuple[str, Counts]]


class StartPage(ThrottledLoginSite):
    """The part of the admin site that draws its start page."""

    index_title = "Dashboard"

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
            yield _figure(paused, *_PAUSED, ErpConnection, active__exact="1", paused="yes")
        if self._may_see(request, ErpAck):
            classifications = figures.count_open_acks(user)
            for classification, texts in _ACKS.items():
                count = classifications.get(classification, 0)
                yield _figure(
                    count, *texts, ErpAck, open="yes", classification__exact=classification
                )

    def _sees_anything(self, request: HttpRequest) -> bool:
        has_org = request.user.is_superuser or visible_orgs(request.user).exists()
        return has_org and bool(self.get_app_list(request))

    def _may_see(self, request: HttpRequest, model: type[Model]) -> bool:
        return self.get_model_admin(model).has_view_permission(request)

    def _health(self, health: ConnectionHealth, now: datetime) -> dict[str, Any]:
        """What the page says of a connection."""
        connection, hours = health.connection, health.traffic.hours
        return {
            "connection": connection,
            "state": state(connection),
            "rates": [
                ("24 h", _percent(health.traffic.last_24_hours)),
                ("7 days", _percent(health.traffic.last_7_days)),
            ],
            "p95": health.latency and humanize(health.latency.p95),
            "ages": {
                name: (at, humanize(now - at))
                for name in ("oldest_waiting", "last_sent", "last_ack")
                if (at := getattr(health, name))
            },
            "drawing": bar_chart(
                [
                    Bar(label=f"{date_format(hour, 'H:i')}: {counts.sent:,} sent", good=counts.sent)
                    for hour, counts in hours.items()
                ],
                label=f"Sent in each of the last 24 hours, "
                f"{health.traffic.last_24_hours.sent:,} together",
            ),
        }


def _figure(count: int, one: str, many: str, model: type[Model], **filters: str) -> Figure:
    meta = model._meta
    url = reverse(f"admin:{meta.app_label}_{meta.model_name}_changelist")
    return Figure(count=count, text=one if count == 1 else many, url=f"{url}?{urlencode(filters)}")


def _chart(
    title: str, hourly: Mapping[datetime, Counts], total: Counts, when: str, unit: str
) -> Chart:
    rows = [(date_format(at, when), counts) for at, counts in hourly.items()]
    return Chart(
        title=title,
        sent=f"{total.sent:,} sent",
        failed=f"{total.failed:,} failed",
        peak=f"at most {max(counts.sent + counts.failed for counts in hourly.values()):,} {unit}",
        drawing=bar_chart(
            [
                Bar(
                    label=f"{name}: {counts.sent:,} sent, {counts.failed:,} failed",
                    good=counts.sent,
                    bad=counts.failed,
                )
                for name, counts in rows
            ],
            label=f"{title}: {total.sent:,} sent, {total.failed:,} failed",
        ),
        rows=rows,
    )


def _percent(counts: Counts) -> str:
    """Never 100 % when something has failed, nor 0 % when something was sent."""
    if counts.success is None:
        return ""
    percent = 100 * counts.success
    return f"{percent:.0f} %" if percent in (0, 100) else f"{min(max(percent, 0.1), 99.9):.1f} %"

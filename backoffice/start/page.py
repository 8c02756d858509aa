"""The start page of the admin: what needs attention, exports by time, each connection."""

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
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext_lazy

from accounts.scoping import visible_orgs
from backoffice.charts import Bar, bar_chart
from backoffice.connections.state import state
from backoffice.login import ThrottledLoginSite
from backoffice.searching import SearchForm
from backoffice.start import figures
from backoffice.start.figures import ConnectionHealth, Counts
from backoffice.texts import Text
from connectors.models import ErpConnection
from exports.delivery import heartbeat
from exports.models import ErpAck, ErpExport
from kernel.db import db_now
from kernel.durations import humanize
from orders.models import DraftOrder

# What a figure says, by status or classification.
_ORDERS: Final = {
    DraftOrder.Status.NEEDS_REVIEW: ngettext_lazy("needs review", "need review", "count"),
    DraftOrder.Status.READY: ngettext_lazy("to approve", "to approve", "count"),
    DraftOrder.Status.APPROVED: ngettext_lazy("to push", "to push", "count"),
    DraftOrder.Status.PUSHING: ngettext_lazy("being sent", "being sent", "count"),
}
_FAILED: Final = ngettext_lazy(
    "order not sent or refused by the ERP", "orders not sent or refused by the ERP", "count"
)
_UNKNOWN: Final = ngettext_lazy("export needs a decision", "exports need a decision", "count")
_OVERDUE: Final = ngettext_lazy("ack overdue", "acks overdue", "count")
_PAUSED: Final = ngettext_lazy("connection paused", "connections paused", "count")
_ACKS: Final = {
    ErpAck.Classification.CONFLICT: ngettext_lazy(
        "ack contradicts an earlier one", "acks contradict earlier ones", "count"
    ),
    ErpAck.Classification.LATE: ngettext_lazy("late ack", "late acks", "count"),
    ErpAck.Classification.UNMATCHED: ngettext_lazy(
        "ack matches no export", "acks match no export", "count"
    ),
    ErpAck.Classification.MALFORMED: ngettext_lazy("malformed ack", "malformed acks", "count"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A number of objects, what it means, and the address of the list of just these."""

    count: int
    text: str
    url: str

    @property
    def number(self) -> str:
        return f"{self.count:,}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Exports by time. `rows` have the same numbers as the drawing."""

    title: str
    sent: str
    failed: str
    peak: str
    drawing: SafeString
    rows: list[tuple[str, Counts]]


class StartPage(ThrottledLoginSite):
    """The part of the admin site that draws its start page."""

    index_title = gettext_lazy("Start")

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
                _figure(counts.get(status, 0), texts, DraftOrder, status__exact=status)
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
                _chart(_("Last 24 hours"), traffic.hours, traffic.last_24_hours, "H:i", _("hour")),
                _chart(_("Last 7 days"), traffic.days, traffic.last_7_days, "D j M", _("day")),
            ]
        if sees_exports and self._may_see(request, ErpConnection):
            context["connections"] = [
                self._health(health, now) for health in figures.connection_health(user, now=now)
            ]
            context["sees_acks"] = self._may_see(request, ErpAck)
        return super().index(request, {**context, **(extra_context or {})})

    def _waiting(self, request: HttpRequest, *, failed: int) -> Iterator[Figure]:
        """What needs attention, as far as the user may see it, zeros included."""
        user = request.user
        yield _figure(failed, _FAILED, DraftOrder, status__exact=DraftOrder.Status.ERROR)
        if self._may_see(request, ErpExport):
            yield _figure(figures.count_undecided(user), _UNKNOWN, ErpExport, needs_decision="yes")
            yield _figure(figures.count_overdue(user), _OVERDUE, ErpExport, overdue="yes")
        if self._may_see(request, ErpConnection):
            paused = figures.count_paused(user)
            yield _figure(paused, _PAUSED, ErpConnection, active__exact="1", paused="yes")
        if self._may_see(request, ErpAck):
            classifications = figures.count_open_acks(user)
            for classification, texts in _ACKS.items():
                count = classifications.get(classification, 0)
                yield _figure(
                    count, texts, ErpAck, open="yes", classification__exact=classification
                )

    def _sees_anything(self, request: HttpRequest) -> bool:
        has_org = request.user.is_superuser or visible_orgs(request.user).exists()
        return has_org and bool(self.get_app_list(request))

    def _may_see(self, request: HttpRequest, model: type[Model]) -> bool:
        return self.get_model_admin(model).has_view_permission(request)

    def _health(self, health: ConnectionHealth, now: datetime) -> dict[str, Any]:
        """What the page shows of a connection."""
        connection, hours = health.connection, health.traffic.hours
        return {
            "connection": connection,
            "state": state(connection),
            "rates": [
                (_("24 h"), _percent(health.traffic.last_24_hours)),
                (_("7 days"), _percent(health.traffic.last_7_days)),
            ],
            "p95": health.latency and humanize(health.latency.p95),
            "ages": {
                name: (at, humanize(now - at))
                for name in ("oldest_waiting", "last_sent", "last_ack")
                if (at := getattr(health, name))
            },
            "drawing": bar_chart(
                [
                    Bar(
                        label=f"{date_format(hour, 'H:i')}: {_sent(counts.sent)}",
                        good=counts.sent,
                    )
                    for hour, counts in hours.items()
                ],
                label=_("Sent per hour in the last 24 hours, %(count)s in total")
                % {"count": f"{health.traffic.last_24_hours.sent:,}"},
            ),
        }


def _figure(count: int, texts: Text, model: type[Model], **filters: str) -> Figure:
    meta = model._meta
    url = reverse(f"admin:{meta.app_label}_{meta.model_name}_changelist")
    return Figure(
        count=count, text=str(texts % {"count": count}), url=f"{url}?{urlencode(filters)}"
    )


def _chart(
    title: str, hourly: Mapping[datetime, Counts], total: Counts, when: str, unit: str
) -> Chart:
    rows = [(date_format(at, when), counts) for at, counts in hourly.items()]
    peak = max(counts.sent + counts.failed for counts in hourly.values())
    return Chart(
        title=title,
        sent=_sent(total.sent),
        failed=_failed(total.failed),
        peak=_("peak: %(count)s per %(unit)s") % {"count": f"{peak:,}", "unit": unit},
        drawing=bar_chart(
            [
                Bar(
                    label=f"{name}: {_sent(counts.sent)}, {_failed(counts.failed)}",
                    good=counts.sent,
                    bad=counts.failed,
                )
                for name, counts in rows
            ],
            label=f"{title}: {_sent(total.sent)}, {_failed(total.failed)}",
        ),
        rows=rows,
    )


def _sent(count: int) -> str:
    return _("%(count)s sent") % {"count": f"{count:,}"}


def _failed(count: int) -> str:
    return _("%(count)s failed") % {"count": f"{count:,}"}


def _percent(counts: Counts) -> str:
    """Never 100 % if something has failed, never 0 % if something was sent."""
    if counts.success is None:
        return ""
    percent = 100 * counts.success
    return f"{percent:.0f} %" if percent in (0, 100) else f"{min(max(percent, 0.1), 99.9):.1f} %"

"""The state of a connection as its page and its list show it."""

from contextlib import suppress
from datetime import datetime
from typing import Any

from django.contrib import admin
from django.utils.formats import localize
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from backoffice.badges import Tone, badge
from connectors import circuit_breaker
from connectors.configuring import masked_config, pinned_host_keys
from connectors.errors import CATALOGUE, ConnectorError
from connectors.models import NEVER_TESTED, ErpConnection
from connectors.port import HostKey
from exports.reporting.statistics import PERIOD, ack_latency, backlog
from kernel.durations import humanize


def state(connection: ErpConnection) -> SafeString:
    """What the connection does now, and why."""
    if connection.is_paused:
        tone = Tone.BUSY if connection.system_pause_code == NEVER_TESTED else Tone.BAD
        return _badge_and(_("paused"), tone, circuit_breaker.pause_sentence(connection))
    if connection.failures and connection.retry_at:
        next_try = _("next try at %(at)s") % {"at": localize(connection.retry_at)}
        return _badge_and(_("failing"), Tone.BAD, next_try)
    if connection.active:
        return badge(_("working"), Tone.GOOD)
    return badge(_("inactive"), Tone.QUIET)


@admin.display(description=gettext_lazy("last test"), ordering="last_test_at")
def last_test(connection: ErpConnection) -> SafeString:
    if connection.last_test_at is None:
        return badge(_("never"), Tone.QUIET)
    passed = connection.last_test_success
    label, tone = (_("passed"), Tone.GOOD) if passed else (_("failed"), Tone.BAD)
    return _badge_and(label, tone, localize(connection.last_test_at))


def full_state(connection: ErpConnection) -> dict[str, Any]:
    """What the page shows about a connection besides its form."""
    return {
        "connection": connection,
        "state": state(connection),
        "last_test": last_test(connection),
        "pause_spec": CATALOGUE.get(connection.system_pause_code),
        "config_error": config_error(connection),
        "last_error": _last_error(connection),
        "reads_acks": connection.reads_acks,
        "ack_error": _dated(connection.ack_error),
        "latency": _latency(connection),
        "backlog": backlog(connection),
    }


def _badge_and(label: str, tone: Tone, text: str) -> SafeString:
    return format_html("{} <span>{}</span>", badge(label, tone), text)


def shown_config(connection: ErpConnection | None) -> dict[str, Any]:
    """The configuration with masked secrets; empty if there is none that can be read."""
    if connection is None or config_error(connection):
        return {}
    return masked_config(connection)


def config_error(connection: ErpConnection) -> ConnectorError | None:
    try:
        masked_config(connection)
    except ConnectorError as e:
        return e
    return None


def pinned_keys(connection: ErpConnection) -> list[HostKey]:
    with suppress(ConnectorError):
        return pinned_host_keys(connection)
    return []


def unpinned_key(connection: ErpConnection) -> HostKey | None:
    """The host key that the last test saw, unless it is pinned."""
    seen = HostKey.parse(connection.host_key_seen)
    return seen if seen.line and seen not in pinned_keys(connection) else None


def _last_error(connection: ErpConnection) -> dict[str, Any] | None:
    """The last error, unless the pause shows it already."""
    error = connection.last_error
    return None if error and error["code"] == connection.system_pause_code else _dated(error)


def _dated(error: dict[str, Any] | None) -> dict[str, Any] | None:
    return error and error | {"at": datetime.fromisoformat(error["at"])}


def _latency(connection: ErpConnection) -> str:
    latency = ack_latency(connection)
    if latency is None:
        return ""
    return _(
        "half within %(p50)s, 95 %% within %(p95)s (%(count)s acknowledged in %(days)s days)"
    ) % {
        "p50": humanize(latency.p50),
        "p95": humanize(latency.p95),
        "count": f"{latency.count:,}",
        "days": PERIOD.days,
    }

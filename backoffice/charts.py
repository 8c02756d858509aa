"""Bar charts, drawn as SVG without script or style; static/orderflow/admin.css colours them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

_HEIGHT: Final = 100
_STEP, _WIDTH = 10, 7
# A small bar stays visible beside a large one.
_LEAST: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A stack of good and, above it, bad ones. `label` is the tooltip."""

    label: str
    good: int
    bad: int = 0


def bar_chart(bars: Sequence[Bar], *, label: str) -> SafeString:
    """Bars side by side, the highest as high as the chart. `label` describes the chart."""
    highest = max((bar.good + bar.bad for bar in bars), default=0) or 1
    return format_html(
        '<svg class="chart" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img"'
        ' aria-label="{}">{}</svg>',
        len(bars) * _STEP,
        _HEIGHT,
        label,
        format_html_join("", "{}", ((_drawn(n, bar, highest),) for n, bar in enumerate(bars))),
    )


def _drawn(number: int, bar: Bar, highest: int) -> SafeString:
    bad = _height(bar.bad, highest)
    good = min(_height(bar.good, highest), _HEIGHT - bad)
    return format_html(
        "<g><title>{}</title>"
        '<rect class="chart-space" x="{x}" y="0" width="{step}" height="{height}"/>'
        '<rect class="chart-good" x="{x}" y="{good_y}" width="{width}" height="{good}"/>'
        '<rect class="chart-bad" x="{x}" y="{bad_y}" width="{width}" height="{bad}"/></g>',
        bar.label,
        x=number * _STEP,
        step=_STEP,
        width=_WIDTH,
        height=_HEIGHT,
        good=good,
        good_y=_HEIGHT - good,
        bad=bad,
        bad_y=_HEIGHT - good - bad,
    )


def _height(count: int, highest: int) -> int:
    return max(_LEAST, round(_HEIGHT * count / highest)) if count else 0

"""The alert rules ask for metrics that there are, and the runbook says what to do about each."""

import re
from typing import Any

import promql_parser as promql
import pytest
import yaml
from prometheus_client.metrics_core import Metric

from exports.reporting.metrics import REGISTRY
from tests.support.processes import ROOT

RULES = [
    rule
    for group in yaml.safe_load((ROOT / "deploy" / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]


def selectors(expression: str) -> list[promql.VectorSelector]:
    """The series that an expression asks for. Raises on what is no PromQL."""
    found: list[promql.VectorSelector] = []

    def visit(node: promql.Expr) -> None:
        if isinstance(node, promql.MatrixSelector):
            found.append(node.vector_selector)
        elif isinstance(node, promql.VectorSelector):
            found.append(node)

    promql.walk(promql.parse(expression), visit)
    return found


@pytest.mark.django_db
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_asks_for_what_there_is_and_says_what_to_do(rule: dict[str, Any]) -> None:
    labels = {
        name: {*family._labelnames, *(("le",) if family.type == "histogram" else ())}
        for family in REGISTRY.collect()
        for name in _series(family)
    }
    asked = selectors(rule["expr"])
    assert asked
    for selector in asked:
        assert selector.name in labels, f"nothing is called {selector.name}"
        assert {m.name for m in selector.matchers.matchers} <= labels[selector.name]
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["annotations"]["summary"]
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    headings = re.findall(r"^#+ (.+)$", (ROOT / page).read_text(), re.MULTILINE)
    assert anchor in {heading.lower().replace(" ", "-") for heading in headings}


def _series(family: Metric) -> tuple[str, ...]:
    if family.type == "counter":
        return (f"{family.name}_total",)
    if family.type == "histogram":
        return tuple(f"{family.name}_{part}" for part in ("bucket", "count", "sum"))
    return (family.name,)


def test_every_alert_is_in_the_runbook_and_named_once() -> None:
    names = [rule["alert"] for rule in RULES]
    assert len(names) == len(set(names))
    page = (ROOT / "docs" / "runbook.md").read_text()
    assert set(names) == set(re.findall(r"^## (Orderflow\w+)$", page, re.MULTILINE))

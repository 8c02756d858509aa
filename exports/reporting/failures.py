"""Failures that wait for a person, grouped by cause."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db.models import Count, Exists, Max, Min, OuterRef, Q, QuerySet
from django.db.models.fields.json import KT

from connectors.errors import CATALOGUE, ErrorSpec
from connectors.models import ErpConnection
from exports.models import ErpExport
from orders.models import DraftOrder

# The failed exports whose order waits for a correction or a retry since.
OPEN_FAILURE: Final = Q(
    ~Exists(
        ErpExport.objects.filter(
            org=OuterRef("org"),
            draft_order=OuterRef("draft_order"),
            created_at__gt=OuterRef("created_at"),
        )
    ),
    status=ErpExport.Status.FAILED,
    draft_order__status=DraftOrder.Status.ERROR,
)

_MESSAGE = KT("error_json__message")


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureGroup:
    """Exports of one connection with one cause. Failed ones can be retried, others are decided.

    `erp_code`: of what the ERP refused, the ERP's own code, if it said one.
    `message` is what is said of one of them, and of all if `is_said_of_all`.
    """

    code: str
    erp_code: str
    spec: ErrorSpec | None
    connection: ErpConnection
    is_failed: bool
    message: str
    is_said_of_all: bool
    count: int
    oldest: datetime
    newest: datetime

    @property
    def cause(self) -> str:
        """What `caused_by` takes."""
        return f"{self.code}:{self.erp_code}" if self.code == "ERP_REFUSED" else self.code

    @property
    def told(self) -> str:
        """The message without the ERP's code, for where that stands already."""
        return self.message.replace(f": {self.erp_code}", "", 1) if self.erp_code else self.message


def caused_by(cause: str) -> Q:
    """Of an export: it has this error, a code of the catalogue or with the ERP's after a colon."""
    code, colon, erp_code = cause.partition(":")
    said = Q()
    if erp_code:
        said = Q(error_json__erp_code=erp_code)
    elif colon:
        said = Q(error_json__erp_code=None) | Q(error_json__erp_code__isnull=True)
    return Q(error_json__code=code) & said


def failure_groups(exports: QuerySet[ErpExport]) -> list[FailureGroup]:
    """Group those of `exports` that wait for a person, the largest groups first."""
    # One after the other: either condition has an index, both together have none.
    groups = [
        *_grouped(exports.filter(OPEN_FAILURE)),
        *_grouped(exports.filter(ErpExport.NEEDS_DECISION)),
    ]
    groups.sort(key=lambda row: (-row["count"], row["code"] or "", row["erp_connection"]))
    connections = ErpConnection.objects.select_related("org").in_bulk(
        {row["erp_connection"] for row in groups}
    )
    return [
        FailureGroup(
            code=row["code"] or "",
            erp_code=row["erp_code"] or "",
            spec=CATALOGUE.get(row["code"]),
            connection=connections[row["erp_connection"]],
            is_failed=row["status"] == ErpExport.Status.FAILED,
            message=row["message"] or "",
            is_said_of_all=row["message"] == row["other_message"],
            count=row["count"],
            oldest=row["oldest"],
            newest=row["newest"],
        )
        for row in groups
    ]


def _grouped(exports: QuerySet[ErpExport]) -> Iterable[Mapping[str, Any]]:
    return (
        exports.order_by()
        .values(
            "erp_connection",
            "status",
            code=KT("error_json__code"),
            erp_code=KT("error_json__erp_code"),
        )
        .annotate(
            count=Count("id"),
            oldest=Min("created_at"),
            newest=Max("created_at"),
            message=Max(_MESSAGE),
            other_message=Min(_MESSAGE),
        )
    )

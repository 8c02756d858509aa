"""Counters of what exports came to: each event is counted once, a while after it happened.

Counting anew would take the longer the more there was. So the counts are kept, and in one
transaction with how far they go: a crash in between changes neither.
"""

import time
from datetime import timedelta
from typing import Final

from django.db import transaction
from django.db.models import Case, Count, DurationField, F, Max, Sum, TextField, Value, When
from django.db.models.fields.json import KT
from django.db.models.functions import Coalesce, Greatest

from exports.models import Counter, CounterProgress, ErpExportEvent
from kernel.db import committed_before, db_now, retried

# Seconds, of how long a sending or an answer takes. What was counted keeps the bounds of its time.
BOUNDS: Final = (1, 2, 5, 10, 30, 60, 300, 900, 3600, 4 * 3600, 24 * 3600, 72 * 3600)
LONGER: Final = "+Inf"

_RUN_SECONDS = 45
_AT_ONCE = 20_000
_NONE = Value(timedelta())

_Kind, _Outcome = ErpExportEvent.Kind, Counter.Outcome
_OUTCOME = Case(
    When(ErpExportEvent.FAILURE, then=Value(_Outcome.FAILED)),
    When(kind__in=[_Kind.SENT, _Kind.RESOLVED], then=Value(_Outcome.SENT)),
    When(kind=_Kind.ACKED, then=Value(_Outcome.ACKED)),
    When(kind=_Kind.CREATED, then=Value(_Outcome.CREATED)),
    When(kind=_Kind.CANCELLED, then=Value(_Outcome.CANCELLED)),
    When(kind=_Kind.ATTEMPT_FAILED, then=Value(_Outcome.ATTEMPT_FAILED)),
)
_SENT_AT = Coalesce("export__sent_at", "export__created_at")
_TOOK = Case(
    When(outcome=_Outcome.SENT, then=Greatest(F("at") - F("export__created_at"), _NONE)),
    When(outcome=_Outcome.ACKED, then=Greatest(F("at") - _SENT_AT, _NONE)),
    output_field=DurationField(),
)
_LABEL = Case(
    When(kind=_Kind.REFUSED, then=Value("ERP_REFUSED")),
    When(
        outcome__in=[_Outcome.FAILED, _Outcome.ATTEMPT_FAILED],
        then=Coalesce(KT("detail__code"), KT("detail__outcome"), Value("")),
    ),
    When(took=None, then=Value("")),
    *(When(took__lte=timedelta(seconds=bound), then=Value(str(bound))) for bound in BOUNDS),
    default=Value(LONGER),
    output_field=TextField(),
)


def count_events() -> int:
    """Count what can be counted by now, for a bounded time; return how many ids of events."""
    ends = time.monotonic() + _RUN_SECONDS
    counted = 0
    while (some := _count_some()) and time.monotonic() < ends:
        counted += some
    return counted


@retried
@transaction.atomic
def _count_some() -> int:
    CounterProgress.objects.get_or_create(id=1)
    progress = CounterProgress.objects.select_for_update().get(id=1)
    if progress.position == progress.high_watermark:
        latest: int = ErpExportEvent.objects.aggregate(Max("id", default=0))["id__max"]
        progress.high_watermark = max(latest, progress.high_watermark)
        # Read after the latest id: a transaction that has a lower id and has not committed yet
        # has begun by now.
        progress.high_watermark_at = db_now()
        progress.save(update_fields=["high_watermark", "high_watermark_at"])
        return 0
    if progress.high_watermark_at >= committed_before():
        return 0
    begin = progress.position
    progress.position = min(begin + _AT_ONCE, progress.high_watermark)
    _add(begin, progress.position)
    progress.save(update_fields=["position"])
    return progress.position - begin


def _add(after: int, until: int) -> None:
    """Add the events with the ids in between. Nobody else does: the progress is locked."""
    rows = list(
        ErpExportEvent.objects.filter(id__gt=after, id__lte=until)
        .annotate(erp_connection=F("export__erp_connection"), outcome=_OUTCOME)
        .exclude(outcome=None)
        .annotate(took=_TOOK, label=_LABEL)
        .order_by()
        .values_list("erp_connection", "outcome", "label")
        .annotate(count=Count("*"), total=Sum("took"))
    )
    connections = {connection_id for connection_id, *_ in rows}
    present = {
        (counter.erp_connection_id, counter.outcome, counter.label): counter
        for counter in Counter.objects.filter(erp_connection__in=connections)
    }
    grown = []
    for connection_id, outcome, label, count, took in rows:
        past = present.get((connection_id, outcome, label), Counter())
        grown.append(
            Counter(
                erp_connection_id=connection_id,
                outcome=outcome,
                label=label,
                count=past.count + count,
                took=past.took + (took or timedelta()),
            )
        )
    Counter.objects.bulk_create(
        grown,
        update_conflicts=True,
        unique_fields=["erp_connection", "outcome", "label"],
        update_fields=["count", "took"],
    )

"""The admin of batches: who asked for what, how far a batch is, and the result of each order."""

from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.db.models import Count, Max, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from django.utils.safestring import SafeString

from backoffice.badges import outcome_badge, state_badge
from backoffice.csv_lists import CsvAdmin
from backoffice.filters import ConditionFilter, VisibleFieldListFilter
from backoffice.lists import BoundedChangeList
from backoffice.pages import link
from backoffice.scoping import ReadOnlyAdmin, person, require
from exports.delivery import heartbeat
from exports.models import Batch, BatchItem
from exports.pushing.actions import DECISIONS
from exports.pushing.batches import Progress, cancel, progress, progresses
from kernel.db import db_now
from kernel.durations import humanize
from kernel.errors import RuleViolation

Outcome = BatchItem.Outcome

# What to do about orders that a batch refused: the same again, unless another decision helps, or
# none.
_REMEDIES: Final = {
    "CHANGED_SINCE_APPROVAL": "approve",
    "NOT_APPROVED": "approve",
    "LIVE_EXPORT": None,
    "NOT_FAILED": None,
    "NOT_REJECTABLE": None,
}


class BatchList(BoundedChangeList):
    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        batches: list[Any] = list(self.result_list)
        counts = progresses(batches)
        for batch in batches:
            batch.progress = counts[batch.pk]
        self.result_list = batches


class State(ConditionFilter):
    title = "state"
    parameter_name = "state"
    conditions = {
        "unfinished": Q(finished_at=None),
        "finished": Q(finished_at__isnull=False, cancelled_at=None),
        "cancelled": Q(cancelled_at__isnull=False),
    }


class BatchAdmin(ReadOnlyAdmin):
    list_display = (
        "what",
        "org",
        "state_badge",
        "total",
        "done",
        "not_done",
        "requested_by",
        "created_at",
    )
    list_filter = (State, "action", "created_at", ("org", VisibleFieldListFilter))
    list_select_related = ("requested_by", "org")
    # The counts of a page read the items of its batches.
    list_per_page = 25
    list_max_show_all = 25

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return BatchList

    def what(self, batch: Batch) -> str:
        return str(batch)

    @admin.display(description="state")
    def state_badge(self, batch: Batch) -> SafeString:
        return state_badge(batch.state)

    @admin.display(description="orders")
    def total(self, batch: Any) -> str:
        return f"{batch.progress.total:,}"

    def done(self, batch: Any) -> str:
        return f"{batch.progress.done:,}"

    @admin.display(description="refused, failed")
    def not_done(self, batch: Any) -> str:
        return f"{batch.progress.refused + batch.progress.failed:,}"

    def get_urls(self) -> list[URLPattern]:
        return [
            path(
                "<uuid:pk>/cancel/",
                self.admin_site.admin_view(self.cancel_view),
                name="exports_batch_cancel",
            ),
            *super().get_urls(),
        ]

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """How far a batch is, and what came of its orders."""
        obj = self.get_object(request, object_id)
        if obj is None or not self.has_view_permission(request, obj):
            # Django's own page says so.
            return super().change_view(request, object_id, form_url, extra_context)
        batch: Batch = obj
        counts = progress(batch)
        may_decide = request.user.has_perm(DECISIONS[batch.action].permission)
        groups = _groups(request, batch)
        return self.page(
            request,
            "admin/exports/batch/progress.html",
            title=f"{batch.get_action_display().capitalize()} {counts.total:,} orders",
            original=batch,
            state=state_badge(batch.state),
            progress=counts,
            pace=_pace(batch, counts),
            groups=groups,
            has_remedies=any(group["remedy_url"] for group in groups),
            is_stoppable=may_decide and batch.finished_at is None,
            has_worker=batch.finished_at is not None or heartbeat.alive().exists(),
        )

    def cancel_view(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        batch: Batch = self.get_or_404(request, pk)
        require(request, DECISIONS[batch.action].permission)
        back = reverse("admin:exports_batch_change", args=[pk])
        if request.method != "POST":
            counts = progress(batch)
            return self.confirmation(
                request,
                title="Stop batch",
                original=batch,
                paragraphs=[
                    f"The {counts.waiting:,} orders that still wait are left as they are. "
                    "What was done stays.",
                ],
                submit="Stop this batch",
                back=back,
            )
        try:
            cancel(pk, actor=person(request))
        except RuleViolation as e:
            self.message_user(request, e.message, messages.ERROR)
        else:
            self.message_user(request, "The batch was stopped.", messages.SUCCESS)
        return redirect(back)


class BatchItemAdmin(CsvAdmin, ReadOnlyAdmin):
    """The orders of one batch, reached from its page."""

    org_path = "batch__org"
    list_display = ("order", "outcome_badge", "code", "message", "file")
    list_display_links = None
    list_filter = ("outcome",)
    linked_by = ("batch", "code")
    list_select_related = ("draft_order", "export")
    list_per_page = 50
    search_fields = ("draft_order__external_order_number",)
    search_help_text = "Order number"
    csv_columns = {
        "order": lambda item: str(item.draft_order),
        "outcome": lambda item: item.outcome,
        "code": lambda item: item.code,
        "message": lambda item: item.message,
        "file name": lambda item: item.export and item.export.filename,
        "finished at": lambda item: item.finished_at,
    }

    def has_module_permission(self, request: HttpRequest) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[BatchItem]:
        items: QuerySet[BatchItem] = super().get_queryset(request)
        return items.defer("export__payload")

    def order(self, item: BatchItem) -> SafeString:
        return link("admin:orders_draftorder_change", item.draft_order)

    @admin.display(description="outcome", ordering="outcome")
    def outcome_badge(self, item: BatchItem) -> SafeString:
        return outcome_badge(item.outcome)

    @admin.display(empty_value="")
    def file(self, item: BatchItem) -> SafeString | None:
        return link("admin:exports_erpexport_change", item.export) if item.export else None


def _pace(batch: Batch, counts: Progress) -> dict[str, str]:
    """How fast a batch goes, and for how much longer; empty before its first orders are done."""
    if batch.started_at is None or not counts.handled:
        return {}
    elapsed = (batch.finished_at or db_now()) - batch.started_at
    seconds = max(elapsed.total_seconds(), 0.001)
    pace = {"elapsed": humanize(elapsed), "rate": f"{counts.handled / seconds:,.0f}"}
    if batch.finished_at is None:
        pace["rest"] = humanize(timedelta(seconds=counts.waiting * seconds / counts.handled))
    return pace


def _groups(request: HttpRequest, batch: Batch) -> list[dict[str, Any]]:
    """What came of the orders, by outcome and reason; what can be done about those of a group."""
    rows = batch.items.order_by().values("outcome", "code")
    counted = rows.annotate(count=Count("id"), example=Max("message")).order_by("-count")
    groups = []
    for row in counted:
        which = {"outcome": row["outcome"], "code": row["code"]}
        remedy = _remedy(batch, **which)
        items = urlencode(
            {"batch": batch.pk, "outcome__exact": row["outcome"], "code": row["code"]}
        )
        groups.append(
            {
                **row,
                "badge": outcome_badge(row["outcome"]),
                "items_url": f"{reverse('admin:exports_batchitem_changelist')}?{items}",
                "remedy": remedy,
                "remedy_url": remedy
                and request.user.has_perm(DECISIONS[remedy].permission)
                and f"{reverse('admin:orders_draftorder_decide', args=[remedy])}"
                f"?{urlencode({'batch': batch.pk, **which})}",
            }
        )
    return groups


def _remedy(batch: Batch, *, outcome: str, code: str) -> str | None:
    """The decision that could follow for orders of one outcome, once the batch is finished."""
    if batch.finished_at is None:
        return None
    if outcome == Outcome.DONE:
        return "push" if batch.action == Batch.Action.APPROVE else None
    return _REMEDIES.get(code, batch.action)

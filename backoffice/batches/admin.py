"""The admin of batches: who asked for what, how far a batch is, the result of each order."""

from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlencode

from django.contrib import admin
from django.db.models import Count, Max, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext, ngettext_lazy

from backoffice.actions import ObjectAction
from backoffice.badges import outcome_badge, state_badge
from backoffice.filters import ConditionFilter, VisibleFieldListFilter
from backoffice.lists import BoundedChangeList
from backoffice.pages import draw, link
from backoffice.scoping import ReadOnlyAdmin
from exports.delivery import heartbeat
from exports.models import Batch, BatchItem
from exports.pushing.actions import DECISIONS
from exports.pushing.batches import Progress, cancel, progress, progresses
from kernel.db import db_now
from kernel.durations import humanize

Outcome = BatchItem.Outcome

# The next decision about orders that were not allowed: the same again, unless this says another
# one or none.
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


STOP: Final[ObjectAction[Batch]] = ObjectAction(
    name="cancel",
    label=_("Stop batch"),
    permission=lambda batch: DECISIONS[batch.action].permission,
    sentences=[
        ngettext_lazy(
            "%(waiting)s waiting order stays as it is. What was done stays done.",
            "%(waiting)s waiting orders stay as they are. What was done stays done.",
            "waiting",
        )
    ],
    facts=lambda batch: {"waiting": progress(batch).waiting},
    service=lambda submitted: cancel(submitted.obj.pk, actor=submitted.actor),
    done=_("The batch was stopped."),
    is_offered=lambda batch: batch.finished_at is None,
)


class BatchAdmin(ReadOnlyAdmin[Batch]):
    object_actions = (STOP,)
    changelist_class = BatchList
    list_display = (
        "what",
        "organisation",
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

    def what(self, batch: Batch) -> str:
        return str(batch)

    @admin.display(description=_("state"))
    def state_badge(self, batch: Batch) -> SafeString:
        return state_badge(batch.state)

    @admin.display(description=_("orders"))
    def total(self, batch: Any) -> str:
        return f"{batch.progress.total:,}"

    def done(self, batch: Any) -> str:
        return f"{batch.progress.done:,}"

    @admin.display(description=_("not allowed, failed"))
    def not_done(self, batch: Any) -> str:
        return f"{batch.progress.refused + batch.progress.failed:,}"

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """How far a batch is, and the results of its orders."""
        batch = self.get_object(request, object_id)
        if batch is None or not self.has_view_permission(request, batch):
            # Django's own page says so.
            return super().change_view(request, object_id, form_url, extra_context)
        counts = progress(batch)
        groups = _groups(request, batch)
        return draw(
            self,
            request,
            "admin/exports/batch/progress.html",
            title=ngettext(
                "Batch: %(action)s %(count)s order",
                "Batch: %(action)s %(count)s orders",
                counts.total,
            )
            % {"action": batch.get_action_display(), "count": f"{counts.total:,}"},
            original=batch,
            state=state_badge(batch.state),
            progress=counts,
            pace=_pace(batch, counts),
            groups=groups,
            has_remedies=any(group["remedy_url"] for group in groups),
            buttons=self.buttons(request, batch),
            has_worker=batch.finished_at is not None or heartbeat.alive().exists(),
        )


class BatchItemAdmin(ReadOnlyAdmin[BatchItem]):
    """The orders of one batch, reached from its page."""

    org_path = "batch__org"
    list_display = ("order", "outcome_badge", "code", "message", "file")
    list_display_links = None
    list_filter = ("outcome",)
    linked_by = ("batch", "code")
    list_select_related = ("draft_order", "export")
    list_per_page = 50
    search_fields = ("draft_order__external_order_number",)
    search_help_text = _("Order number")
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
        return super().get_queryset(request).defer("export__payload")

    def order(self, item: BatchItem) -> SafeString:
        return link(item.draft_order)

    @admin.display(description=_("result"), ordering="outcome")
    def outcome_badge(self, item: BatchItem) -> SafeString:
        return outcome_badge(item.outcome)

    @admin.display(empty_value="")
    def file(self, item: BatchItem) -> SafeString | None:
        return link(item.export) if item.export else None


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
    """The results of the orders by outcome and reason, and the next step for each group."""
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

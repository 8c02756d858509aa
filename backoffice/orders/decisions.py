"""Decisions about orders: a page says what a decision will do to them, a POST carries it out.

A few orders are decided at once, and the page shows the result for each. More orders become a
batch, which workers carry out. A page that approves sends back the hashes of the content that it
showed: an order that has changed since is not approved, but shown again with its changes.
"""

from collections.abc import Callable, Mapping
from uuid import UUID

from django.contrib import admin, messages
from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext, ngettext

from accounts.models import Org
from backoffice.orders.previews import preview_each, preview_many
from backoffice.orders.shown import split_hashes
from backoffice.pages import confirmation
from backoffice.permissions import person, require
from backoffice.scoping import OrgScopedAdmin
from exports.models import BatchItem, ErpExport
from exports.pushing.actions import DECISIONS, Decision
from exports.pushing.batches import MAX_BATCH_ORDERS, create_batch
from exports.reporting.failures import OPEN_FAILURE, caused_by
from kernel.errors import RuleViolation
from orders.models import DraftOrder

MAX_AT_ONCE = 50
_REFUSALS_SHOWN = 10


def list_action(
    decision: Decision,
) -> Callable[[OrgScopedAdmin[DraftOrder], HttpRequest, QuerySet[DraftOrder]], HttpResponse | None]:
    """The action of the list of orders that asks to confirm a decision about the chosen ones."""

    @admin.action(
        description=f"{decision.name.capitalize()} selected orders",
        permissions=[decision.permission.partition(".")[2].partition("_")[0]],
    )
    def confirm_selected(
        model_admin: OrgScopedAdmin[DraftOrder],
        request: HttpRequest,
        orders: QuerySet[DraftOrder],
    ) -> HttpResponse | None:
        ids = list(orders.order_by().values_list("pk", flat=True)[: MAX_BATCH_ORDERS + 1])
        if len(ids) > MAX_BATCH_ORDERS:
            _refuse_too_many(model_admin, request)
            return None
        selected = model_admin.get_queryset(request).filter(pk__in=ids)
        return _confirm(model_admin, request, selected, decision, back=request.get_full_path())

    confirm_selected.__name__ = f"{decision.name}_orders"
    return confirm_selected


def decide_view(
    model_admin: OrgScopedAdmin[DraftOrder], request: HttpRequest, name: str
) -> HttpResponse:
    """GET shows what a decision would do to orders; POST carries it out.

    GET: what `_chosen` understands. POST: `orders` are ids, with the hashes of the content that
    the page showed; `carried` is that content; `confirm_warnings` takes those with warnings
    too, of a few orders the `warned` ones; `back` is the address to return to.
    """
    if (decision := DECISIONS.get(name)) is None:
        raise Http404
    require(request, decision.permission)
    is_post = request.method == "POST"
    seen: dict[UUID, str] = {}
    try:
        if is_post:
            seen = split_hashes(request.POST.get("orders", ""))
            which = Q(pk__in=seen)
        else:
            which = _chosen(request.GET)
    except ValueError as e:
        raise Http404 from e
    back = _back(request)
    if is_post and len(seen) > MAX_BATCH_ORDERS:
        _refuse_too_many(model_admin, request)
        return redirect(back)
    orders = model_admin.get_queryset(request).filter(which)
    count = orders.count()
    if not count:
        raise Http404
    if count > MAX_BATCH_ORDERS:
        _refuse_too_many(model_admin, request)
        return redirect(back)
    if not is_post:
        return _confirm(model_admin, request, orders, decision, back=back)
    if count > MAX_AT_ONCE:
        return _start_batches(model_admin, request, orders, decision, seen)
    if changed := _carry_out(model_admin, request, orders, decision, seen):
        again = orders.filter(pk__in=changed)
        return _confirm(model_admin, request, again, decision, back=back, is_again=True)
    return redirect(back)


def _refuse_too_many(model_admin: OrgScopedAdmin[DraftOrder], request: HttpRequest) -> None:
    model_admin.message_user(
        request,
        gettext(
            "You can choose up to %(count)s orders at a time. "
            "Choose fewer with the filters of the list."
        )
        % {"count": f"{MAX_BATCH_ORDERS:,}"},
        messages.ERROR,
    )


def _confirm(
    model_admin: OrgScopedAdmin[DraftOrder],
    request: HttpRequest,
    orders: QuerySet[DraftOrder],
    decision: Decision,
    *,
    back: str,
    is_again: bool = False,
) -> HttpResponse:
    """The page that says which orders a decision will change, which not, and why.

    `is_again`: the orders have changed since the last page. This page shows the changes.
    """
    orders = orders.order_by("created_at", "id")
    ids = list(orders.values_list("pk", flat=True))
    if len(ids) > MAX_AT_ONCE:
        said = preview_many(decision, orders, ids)
    else:
        said = preview_each(request, decision, orders, is_again=is_again)
    one = orders[0] if len(ids) == 1 else None
    return confirmation(
        model_admin,
        request,
        title=f"{decision.name.capitalize()} order{'' if one else 's'}",
        sentences=[decision.effect],
        decision=decision,
        original=one,
        action=reverse("admin:orders_draftorder_decide", args=[decision.name]),
        back=back,
        **said | {"hidden": [*said["hidden"], ("back", back)]},
    )


def _start_batches(
    model_admin: OrgScopedAdmin[DraftOrder],
    request: HttpRequest,
    orders: QuerySet[DraftOrder],
    decision: Decision,
    seen: Mapping[UUID, str],
) -> HttpResponseRedirect:
    """Start one batch for each organisation of the orders."""
    with transaction.atomic():
        batches = [
            create_batch(
                org,
                action=decision.name,
                orders=orders.filter(org=org),
                actor=person(request),
                confirm_warnings="confirm_warnings" in request.POST,
                seen=seen,
            )
            for org in Org.objects.filter(pk__in=orders.order_by().values("org"))
        ]
    if len(batches) == 1:
        return redirect("admin:exports_batch_change", batches[0].pk)
    model_admin.message_user(
        request,
        gettext("%(count)s batches were started, one for each organisation.")
        % {"count": len(batches)},
    )
    return redirect("admin:exports_batch_changelist")


def _carry_out(
    model_admin: OrgScopedAdmin[DraftOrder],
    request: HttpRequest,
    orders: QuerySet[DraftOrder],
    decision: Decision,
    seen: Mapping[UUID, str],
) -> list[UUID]:
    """Carry a decision out and say so; return the orders that changed since they were shown."""
    # Only the warnings that the page has shown are confirmed.
    warned = request.POST.get("warned", "").split()
    is_confirmed = "confirm_warnings" in request.POST
    done: list[DraftOrder] = []
    refused: list[tuple[DraftOrder, RuleViolation]] = []
    for order in orders.order_by("created_at", "id"):
        confirmed = is_confirmed and str(order.pk) in warned
        try:
            decision.carry_out(order.pk, seen[order.pk], person(request), confirmed)
        except RuleViolation as e:
            refused.append((order, e))
        else:
            done.append(order)
            model_admin.log_change(request, order, f"{decision.done.capitalize()}.")
    if len(done) == 1:
        message = gettext("Order %(order)s was %(done)s.")
        message %= {"order": done[0], "done": decision.done}
    else:
        message = gettext("%(count)s orders were %(done)s.")
        message %= {"count": f"{len(done):,}", "done": decision.done}
    if done:
        model_admin.message_user(request, message, messages.SUCCESS)
    for order, refusal in refused[:_REFUSALS_SHOWN]:
        model_admin.message_user(
            request,
            gettext("Order %(order)s was skipped. %(reason)s")
            % {"order": order, "reason": refusal.message},
            messages.WARNING,
        )
    if (more := len(refused) - _REFUSALS_SHOWN) > 0:
        model_admin.message_user(
            request,
            ngettext(
                "%(count)s more order was skipped.", "%(count)s more orders were skipped.", more
            )
            % {"count": f"{more:,}"},
            messages.WARNING,
        )
    return [order.pk for order, refusal in refused if refusal.code == "CHANGED_SINCE_SHOWN"]


def decide_url(decision: Decision, order: DraftOrder) -> str:
    return f"{reverse('admin:orders_draftorder_decide', args=[decision.name])}?order={order.pk}"


def _chosen(query: QueryDict) -> Q:
    """Orders by `order`, by `batch` with an `outcome` and `code`, or by `error` with `connection`.

    Raises ValueError.
    """
    if "batch" in query:
        items = BatchItem.objects.filter(
            batch=UUID(query.get("batch")),
            outcome=query.get("outcome", ""),
            code=query.get("code", ""),
        )
        return Q(pk__in=items.values("draft_order"))
    if "error" in query:
        failures = ErpExport.objects.filter(
            OPEN_FAILURE,
            caused_by(query.get("error", "")),
            erp_connection=UUID(query.get("connection", "")),
        )
        return Q(pk__in=failures.values("draft_order"))
    return Q(pk__in=[UUID(text) for text in query.getlist("order")])


def _back(request: HttpRequest) -> str:
    """The address on this site to return to."""
    if request.method != "POST":
        orders = request.GET.getlist("order")
        if len(orders) == 1:
            return reverse("admin:orders_draftorder_change", args=orders)
        if "batch" in request.GET:
            return reverse("admin:exports_batch_change", args=[request.GET["batch"]])
        if "error" in request.GET:
            return reverse("admin:exports_erpexport_failures")
    back = request.POST.get("back", "")
    if back.startswith("/") and url_has_allowed_host_and_scheme(back, allowed_hosts=None):
        return back
    return reverse("admin:orders_draftorder_changelist")

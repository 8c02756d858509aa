"""Decisions about orders: a page says what one will do to which orders, a POST carries it out."""

from uuid import UUID

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse

from accounts.scoped_admin import OrgScopedAdmin, person, require
from exports.decisions import DECISIONS, Decision, Preview
from orders.errors import Refused
from orders.models import DraftOrder

MAX_ORDERS = 1000
_REFUSALS_SHOWN = 10


class OrderDeciding(OrgScopedAdmin):
    actions = ("approve_orders", "push_orders", "retry_orders", "reject_orders")

    def has_approve_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("orders.approve_draftorder")

    def has_push_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("orders.push_draftorder")

    @admin.action(description="Approve selected orders", permissions=["approve"])
    def approve_orders(
        self, request: HttpRequest, queryset: QuerySet[DraftOrder]
    ) -> HttpResponse | None:
        return self._confirm_many(request, queryset, DECISIONS["approve"])

    @admin.action(description="Push selected orders", permissions=["push"])
    def push_orders(
        self, request: HttpRequest, queryset: QuerySet[DraftOrder]
    ) -> HttpResponse | None:
        return self._confirm_many(request, queryset, DECISIONS["push"])

    @admin.action(description="Retry selected orders", permissions=["push"])
    def retry_orders(
        self, request: HttpRequest, queryset: QuerySet[DraftOrder]
    ) -> HttpResponse | None:
        return self._confirm_many(request, queryset, DECISIONS["retry"])

    @admin.action(description="Reject selected orders", permissions=["approve"])
    def reject_orders(
        self, request: HttpRequest, queryset: QuerySet[DraftOrder]
    ) -> HttpResponse | None:
        return self._confirm_many(request, queryset, DECISIONS["reject"])

    def get_urls(self) -> list[URLPattern]:
        return [
            path(
                "decide/<slug:name>/",
                self.admin_site.admin_view(self.decide_view),
                name="orders_draftorder_decide",
            ),
            *super().get_urls(),
        ]

    def decide_view(self, request: HttpRequest, name: str) -> HttpResponse:
        """GET ?order=<id> shows what a decision would do to one order; POST carries it out.

        POST: `orders` are ids, `confirm_warnings` takes those with warnings too, `back` says
        whether to return to the order or to the list, with its `filters`.
        """
        if (decision := DECISIONS.get(name)) is None:
            raise Http404
        require(request, decision.permission)
        is_post = request.method == "POST"
        try:
            ids = [
                UUID(text)
                for text in (
                    request.POST.get("orders", "").split()
                    if is_post
                    else request.GET.getlist("order")
                )
            ]
        except ValueError as e:
            raise Http404 from e
        orders = self.get_queryset(request).filter(pk__in=ids[:MAX_ORDERS])
        if not orders:
            raise Http404
        if not is_post:
            return self._confirm(request, orders, decision, is_one=True)
        return self._carry_out(request, orders, decision)

    def _confirm_many(
        self, request: HttpRequest, orders: QuerySet[DraftOrder], decision: Decision
    ) -> HttpResponse | None:
        if orders.count() > MAX_ORDERS:
            self.message_user(
                request,
                f"Choose at most {MAX_ORDERS:,} orders at a time, with the filters of the list.",
                messages.ERROR,
            )
            return None
        return self._confirm(request, orders, decision)

    def _confirm(
        self,
        request: HttpRequest,
        orders: QuerySet[DraftOrder],
        decision: Decision,
        *,
        is_one: bool = False,
    ) -> HttpResponse:
        """The page that says which orders a decision will change and which not, and why."""
        orders = orders.order_by("created_at", "id")
        preview = Preview.of(decision, orders, actor=person(request))
        possible = len(preview.will) + len(preview.needs_confirmation)
        one = orders[0] if is_one else None
        return self.confirmation(
            request,
            title=f"{decision.name.capitalize()} order{'' if one else 's'}",
            template="admin/orders/draftorder/decide.html",
            paragraphs=[decision.effect],
            decision=decision,
            preview=preview,
            original=one,
            action=reverse("admin:orders_draftorder_decide", args=[decision.name]),
            hidden=[
                ("orders", " ".join(str(order.pk) for order in orders)),
                ("back", "order" if one else "list"),
                ("filters", "" if one else request.GET.urlencode()),
            ],
            submit=decision.name.capitalize() if possible else "",
            back=self._back_url(request, one),
        )

    def _carry_out(
        self, request: HttpRequest, orders: QuerySet[DraftOrder], decision: Decision
    ) -> HttpResponseRedirect:
        is_confirmed = "confirm_warnings" in request.POST
        done: list[DraftOrder] = []
        refused: list[tuple[DraftOrder, Refused]] = []
        for order in orders.order_by("created_at", "id"):
            try:
                decision.carry_out(order.pk, person(request), is_confirmed)
            except Refused as e:
                refused.append((order, e))
            else:
                done.append(order)
                self.log_change(request, order, f"{decision.done.capitalize()}.")
        if len(done) == 1:
            self.message_user(request, f"Order {done[0]} was {decision.done}.", messages.SUCCESS)
        elif done:
            self.message_user(
                request, f"{len(done):,} orders were {decision.done}.", messages.SUCCESS
            )
        for order, refusal in refused[:_REFUSALS_SHOWN]:
            self.message_user(
                request, f"Order {order} was skipped. {refusal.message}", messages.WARNING
            )
        if (more := len(refused) - _REFUSALS_SHOWN) > 0:
            self.message_user(request, f"{more:,} more orders were skipped.", messages.WARNING)
        is_one = request.POST.get("back") == "order"
        return redirect(self._back_url(request, orders[0] if is_one else None))

    def _back_url(self, request: HttpRequest, order: DraftOrder | None) -> str:
        if order is not None:
            return reverse("admin:orders_draftorder_change", args=[order.pk])
        filters = request.POST.get("filters") or request.GET.urlencode()
        return f"{reverse('admin:orders_draftorder_changelist')}{filters and f'?{filters}'}"


def decide_url(decision: Decision, order: DraftOrder) -> str:
    return f"{reverse('admin:orders_draftorder_decide', args=[decision.name])}?order={order.pk}"

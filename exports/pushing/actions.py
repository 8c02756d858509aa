"""Decisions about one or many orders: approve, push, retry, reject.

Each decision can be previewed: which orders it would change and which not, and why.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from accounts.models import User
from connectors.models import ErpConnection
from exports.models import ErpExport
from exports.pushing.push import push_orders, retry_orders
from kernel.dry_run import dry_run
from kernel.errors import RuleViolation
from orders import approval
from orders.models import DraftOrder

Status = DraftOrder.Status


DecisionOutcome = ErpExport | DraftOrder | RuleViolation | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Something that a person decides about orders.

    `offered` are the statuses in which the order's page has a button for it. `carry_out_many` takes
    for each order the hash of the content that the person has seen, and returns for each what came
    of it. If `compares_content`, an order with other content is left as it is; without, the hashes
    may be empty.
    """

    name: str
    done: str
    effect: str
    permission: str
    offered: frozenset[str]
    carry_out_many: Callable[[Mapping[UUID, str], User, bool], Mapping[UUID, DecisionOutcome]]
    compares_content: bool = False

    def carry_out(
        self, order_id: UUID, content_sha256: str, actor: User, is_confirmed: bool
    ) -> ErpExport | DraftOrder | None:
        """Carry it out about one order. Raises RuleViolation."""
        seen = {order_id: content_sha256}
        outcome = self.carry_out_many(seen, actor, is_confirmed)[order_id]
        if isinstance(outcome, RuleViolation):
            raise outcome
        return outcome


def _approve(
    seen: Mapping[UUID, str], actor: User, is_confirmed: bool
) -> Mapping[UUID, DecisionOutcome]:
    def approve(order_id: UUID) -> DraftOrder:
        return approval.approve(
            order_id,
            actor=actor,
            confirm_warnings=is_confirmed,
            expected_sha256=seen[order_id],
        )

    return _one_by_one(seen, approve)


def _push(
    seen: Mapping[UUID, str], actor: User, is_confirmed: bool
) -> Mapping[UUID, DecisionOutcome]:
    return push_orders(seen, actor=actor)


def _retry(
    seen: Mapping[UUID, str], actor: User, is_confirmed: bool
) -> Mapping[UUID, DecisionOutcome]:
    return retry_orders(seen, actor=actor)


def _reject(
    seen: Mapping[UUID, str], actor: User, is_confirmed: bool
) -> Mapping[UUID, DecisionOutcome]:
    return _one_by_one(seen, partial(approval.reject, actor=actor))


def _one_by_one(
    order_ids: Collection[UUID], service: Callable[[UUID], DraftOrder | None]
) -> dict[UUID, DecisionOutcome]:
    outcomes: dict[UUID, DecisionOutcome] = {}
    # In the order in which a push locks them, should all be done in one transaction.
    for order_id in sorted(order_ids):
        try:
            outcomes[order_id] = service(order_id)
        except RuleViolation as e:
            outcomes[order_id] = e
    return outcomes


DECISIONS = {
    decision.name: decision
    for decision in (
        Decision(
            name="approve",
            done="approved",
            effect="Approved orders can be pushed as they are now. "
            "A later edit cancels the approval.",
            permission="orders.approve_draftorder",
            offered=frozenset({Status.READY}),
            carry_out_many=_approve,
            compares_content=True,
        ),
        Decision(
            name="push",
            done="pushed",
            effect="Each order becomes a file for the ERP and can then no longer be edited.",
            permission="orders.push_draftorder",
            offered=frozenset({Status.APPROVED}),
            carry_out_many=_push,
        ),
        Decision(
            name="retry",
            done="pushed again",
            effect="Each order, unedited, becomes a new file with a new name for the ERP.",
            permission="orders.push_draftorder",
            offered=frozenset({Status.ERROR}),
            carry_out_many=_retry,
        ),
        Decision(
            name="reject",
            done="rejected",
            effect="Rejected orders are never pushed. This cannot be undone.",
            permission="orders.approve_draftorder",
            offered=frozenset({Status.NEEDS_REVIEW, Status.READY, Status.APPROVED}),
            carry_out_many=_reject,
        ),
    )
}


@dataclass(slots=True)
class Preview:
    """What a decision would do to some orders: by the services' own answer, order by order."""

    will: list[DraftOrder]
    needs_confirmation: list[tuple[DraftOrder, str]]
    skipped: list[tuple[DraftOrder, str]]
    connections: set[ErpConnection]

    @classmethod
    def of(
        cls,
        decision: Decision,
        orders: Iterable[DraftOrder],
        seen: Mapping[UUID, str],
        *,
        actor: User,
    ) -> "Preview":
        preview = cls([], [], [], set())
        for order in orders:
            try:
                with dry_run():
                    result = decision.carry_out(order.pk, seen.get(order.pk, ""), actor, False)
            except RuleViolation as e:
                group = (
                    preview.needs_confirmation
                    if e.code == "NEEDS_CONFIRMATION"
                    else preview.skipped
                )
                group.append((order, e.message))
            else:
                preview.will.append(order)
                if isinstance(result, ErpExport):
                    preview.connections.add(result.erp_connection)
        return preview

"""Each row of the table of exports, performed as people, workers and ERPs do it."""

import shutil
from datetime import timedelta
from unittest import mock

import pytest
from django.core.management import call_command
from django.test import override_settings

from connectors.dropzone.session import DropzoneSession
from connectors.models import ErpConnection
from exports import lifecycle
from exports.acks import review
from exports.delivery import cleanup
from exports.models import ErpAck, ErpExport
from exports.pushing.push import deliver_again, deliver_waiting
from exports.resolution import manual, reconciliation
from exports.resolution.manual import Resolution
from kernel.db import db_now
from kernel.errors import RuleViolation
from orders.models import DraftOrder
from tests.support.admins import messages, page_url
from tests.support.api import EXPORTS, ORDERS, post
from tests.support.builders import pause_by_system
from tests.support.lifecycle_rows import (
    NEW,
    Crash,
    Happened,
    World,
    after_query,
    brings_about,
    refuses,
)

pytestmark = [pytest.mark.django_db, pytest.mark.ledger]


def kinds(export: ErpExport) -> list[str]:
    return [event.kind for event in export.events.all()]


def code(export: ErpExport) -> str | None:
    export.refresh_from_db()
    return export.error_json and export.error_json["code"]


def test_these_steps_and_no_others_are_legal() -> None:
    """Steps are repeated here, because a test that reads the table cannot notice an extra row."""
    assert {step for step in lifecycle.legal_steps() if step[0] != step[1]} == {
        ("PENDING", "SENT"),
        ("PENDING", "FAILED"),
        ("SENT", "ACKED"),
        ("SENT", "FAILED"),
        ("FAILED", "ACKED"),
        ("ACKED", "FAILED"),
    }


def take(world: World, ack: ErpAck) -> None:
    """Accept an ack in the admin."""
    there = page_url("exports_erpack_accept", ack.id)
    done = world.admin.post(there, {"reason": "Asked the ERP team"}, follow=True)
    assert messages(done) == ["The decision was recorded."]


def refusal(export: ErpExport, outcome: Resolution, world: World) -> str:
    """The code by which a manual resolution is refused."""
    with pytest.raises(RuleViolation) as refused:
        manual.resolve(export.id, outcome, actor=world.ann, reason="?")
    return refused.value.code


# Pushing.
@brings_about("exports.CREATED", NEW)
@brings_about("orders.PUSHED", "APPROVED")
def test_a_push_creates_an_export(world: World) -> None:
    order = world.approved()
    with world.watching(order) as happened:
        assert post(world.api, f"{ORDERS}/{order.id}/push").status_code == 202
    assert happened == Happened(
        order=("APPROVED", "PUSHING"), history=["CREATED by ann"], logged=["CREATED"]
    )
    assert order.exports.get().status == "PENDING"


@brings_about("exports.CREATED", NEW)
@brings_about("orders.RETRIED", "ERROR")
def test_a_retry_creates_another_export(world: World) -> None:
    export = world.refused()
    order = export.draft_order
    with world.watching(order) as happened:
        assert post(world.api, f"{ORDERS}/{order.id}/retry-push").status_code == 202
    assert happened == Happened(
        order=("ERROR", "PUSHING"), history=["CREATED by ann"], logged=["CREATED"]
    )
    assert order.exports.exclude(id=export.id).get().status == "PENDING"


@brings_about("orders.RETRIED", "APPROVED")
def test_a_retry_pushes_an_order_whose_export_was_cancelled(world: World) -> None:
    export = world.pending()
    order = export.draft_order
    assert post(world.api, f"{EXPORTS}/{export.id}/cancel", {"reason": "?"}).status_code == 200
    ErpExport.objects.update(created_at=db_now() - timedelta(hours=1))
    with world.watching(order) as happened:
        assert post(world.api, f"{ORDERS}/{order.id}/retry-push").status_code == 202
    assert happened.order == ("APPROVED", "PUSHING")


@brings_about("exports.CANCELLED", "PENDING")
@brings_about("orders.CANCELLED", "PUSHING")
def test_a_person_cancels_an_export(world: World) -> None:
    export = world.pending()
    with world.watching(export) as happened:
        assert post(world.api, f"{EXPORTS}/{export.id}/cancel", {"reason": "?"}).status_code == 200
    assert happened == Happened(
        order=("PUSHING", "APPROVED"),
        export=("PENDING", "FAILED"),
        history=["CANCELLED by ann"],
        told=["export.failed"],
        logged=["CANCELLED"],
    )
    assert export.next_attempt_at is None


@refuses("exports.CANCELLED")
def test_a_claimed_export_cannot_be_cancelled(world: World) -> None:
    export = world.claimed()
    response = post(world.api, f"{EXPORTS}/{export.id}/cancel", {"reason": "?"})
    assert response.json()["code"] == "NOT_CANCELLABLE"


@brings_about("exports.REQUESTED", "PENDING")
def test_a_person_has_an_export_tried_again(world: World) -> None:
    export = world.failing()
    assert export.next_attempt_at
    with world.watching(export) as happened:
        deliver_again(export.id, actor=world.ann)
    assert happened == Happened(
        order=("PUSHING", "PUSHING"),
        export=("PENDING", "PENDING"),
        history=["REQUESTED by ann"],
    )
    assert export.next_attempt_at <= db_now()


@brings_about("exports.EXPEDITED", "PENDING")
def test_a_person_has_all_that_waits_tried_again(world: World) -> None:
    export = world.failing()
    with world.watching(export) as happened:
        assert deliver_waiting(world.connection_id, actor=world.ann) == 1
    assert happened == Happened(
        order=("PUSHING", "PUSHING"),
        export=("PENDING", "PENDING"),
        history=["REQUESTED by ann"],
    )
    assert export.next_attempt_at and export.next_attempt_at <= db_now()


@refuses("exports.EXPEDITED")
def test_what_needs_a_decision_meanwhile_is_not_tried_again(world: World) -> None:
    """A worker notes that, after the exports that wait were looked up."""
    export = world.failing()
    waiting = ErpExport.objects.filter(id=export.id)
    with after_query(
        '"erp_export"."next_attempt_at" > ', lambda: waiting.update(next_attempt_at=None)
    ):
        assert deliver_waiting(world.connection_id, actor=world.ann) == 0
    assert "REQUESTED" not in kinds(export)


# Delivering.
@brings_about("exports.STAGING", "PENDING")
@brings_about("exports.ATTEMPT_FAILED", "PENDING")
def test_an_attempt_fails(world: World) -> None:
    export = world.pending()
    with world.watching(export) as happened, world.cannot("stage", "NO_SPACE"):
        world.deliver()
    assert happened == Happened(
        order=("PUSHING", "PUSHING"),
        export=("PENDING", "PENDING"),
        history=["STAGING", "ATTEMPT_FAILED"],
    )
    assert export.attempts == 1
    assert code(export) == "NO_SPACE"
    assert export.next_attempt_at and export.next_attempt_at > db_now()


@refuses("exports.STAGING")
def test_what_another_worker_has_claimed_is_not_staged_again(world: World) -> None:
    """The other worker claims it after this one has loaded it."""
    export = world.pending()
    with world.overtaken("destination", lambda: world.dies_before("publish")):
        world.deliver()
    assert kinds(export) == ["CREATED", "STAGING", "STAGED"]
    assert len(world.leftovers()) == 1


@brings_about("exports.CLAIMED", "PENDING")
def test_a_worker_claims_the_file_that_it_has_staged(world: World) -> None:
    export = world.pending()
    with world.watching(export) as happened:
        world.dies_before("publish")
    assert happened == Happened(
        order=("PUSHING", "PUSHING"), export=("PENDING", "PENDING"), history=["STAGING", "STAGED"]
    )
    assert export.staged_at and export.staged_path
    assert world.leftovers() == [export.staged_path.rpartition("/")[2]]


@refuses("exports.CLAIMED")
def test_of_two_staged_files_one_is_claimed(world: World) -> None:
    """The other worker makes its claim after this one has staged its file, and dies."""
    export = world.pending()
    with world.overtaken("stage", lambda: world.dies_before("publish")):
        world.deliver()
    assert kinds(export).count("STAGED") == 1
    assert len(world.leftovers()) == 1


@brings_about("exports.RESUMED", "PENDING")
def test_a_worker_takes_up_what_was_staged(world: World) -> None:
    export = world.claimed()
    with world.watching(export) as happened, world.cannot("publish", "NO_SPACE"):
        world.deliver()
    assert happened == Happened(
        order=("PUSHING", "PUSHING"),
        export=("PENDING", "PENDING"),
        history=["RESUMED", "ATTEMPT_FAILED"],
    )
    assert export.attempts == 2


@refuses("exports.RESUMED")
def test_what_is_not_staged_is_not_resumed(world: World) -> None:
    """No service asks for it: what was claimed stays so. The table refuses it all the same."""
    export = world.pending()
    assert lifecycle.apply(lifecycle.Event.RESUMED, [export.id]) == set()


@brings_about("exports.SENT", "PENDING")
@brings_about("orders.SENT", "PUSHING")
def test_a_file_becomes_visible(world: World) -> None:
    export = world.tidied()
    assert code(export) == "NO_SPACE" and export.next_attempt_at and export.cleaned_up_at
    with world.watching(export) as happened:
        assert world.deliver() == 1
    assert happened == Happened(
        order=("PUSHING", "PUSHED"),
        export=("PENDING", "SENT"),
        history=["RESUMED", "SENT"],
        told=["export.sent"],
        logged=["SENT"],
    )
    assert (export.next_attempt_at, export.error_json, export.cleaned_up_at) == (None, None, None)


@brings_about("exports.FAILED", "PENDING")
@brings_about("orders.FAILED", "PUSHING")
def test_an_export_that_could_not_be_sent_for_too_long_is_given_up(world: World) -> None:
    export = world.pending()
    long_ago = db_now() - timedelta(days=365)
    ErpExport.objects.update(created_at=long_ago)
    ErpConnection.objects.update(failing_since=long_ago)
    with world.watching(export) as happened:
        assert cleanup.give_up() == 1
    assert happened == Happened(
        order=("PUSHING", "ERROR"),
        export=("PENDING", "FAILED"),
        history=["FAILED"],
        told=["export.failed"],
        logged=["FAILED"],
    )
    assert export.next_attempt_at is None


@refuses("exports.FAILED")
def test_a_claimed_export_is_never_given_up(world: World) -> None:
    export = world.claimed()
    with override_settings(EXPORT_GIVE_UP_HOURS=0), world.cannot("publish", "NO_SPACE"):
        for _ in range(2):
            world.deliver()
    assert kinds(export)[-4:] == ["RESUMED", "ATTEMPT_FAILED"] * 2


@brings_about("exports.CLEANED_UP", "PENDING", "SENT", "ACKED", "FAILED")
def test_a_file_that_no_export_needs_is_removed(world: World, source: str) -> None:
    export = world.pending()
    world.dies_after_staging()
    if source == "PENDING":
        world.dies_before("publish")
    elif source == "FAILED":
        response = post(world.api, f"{EXPORTS}/{export.id}/cancel", {"reason": "?"})
        assert response.status_code == 200
    else:
        assert world.deliver() == 1
    if source == "ACKED":
        world.answer("ack", export)
    before = len(world.leftovers())
    with world.watching(export) as happened:
        assert world.clean_up() == 1
    assert happened.export == (source, source)
    assert (happened.history, happened.told, happened.logged) == (["CLEANED_UP"], [], [])
    assert export.cleaned_up_at
    assert len(world.leftovers()) == before - 1


@refuses("exports.CLEANED_UP")
def test_of_two_clean_ups_one_is_noted(world: World) -> None:
    """The other clean-up does everything while this one removes the same files."""
    export = world.pending()
    world.dies_after_staging()
    world.deliver()
    with world.overtaken("discard", world.clean_up):
        assert world.clean_up() == 0
    assert kinds(export).count("CLEANED_UP") == 1


# After a restore.
@brings_about("exports.HELD", "PENDING")
def test_what_left_no_trace_is_held(world: World) -> None:
    export = world.pending()
    world.restore()
    with world.watching(export) as happened:
        call_command("reconcile", "--apply")
    assert happened == Happened(
        order=("PUSHING", "PUSHING"),
        export=("PENDING", "PENDING"),
        history=["ATTEMPT_FAILED"],
    )
    assert (export.next_attempt_at, export.attempts, code(export)) == (None, 1, "UNTRACED")


@refuses("exports.HELD")
def test_what_is_held_already_is_not_held_again(world: World) -> None:
    export = world.pending()
    world.restore()
    for _ in range(2):
        call_command("reconcile", "--apply")
    assert kinds(export) == ["CREATED", "ATTEMPT_FAILED"]


@refuses("exports.HELD")
def test_what_is_claimed_meanwhile_is_not_held(world: World) -> None:
    export = world.pending()
    connection = ErpConnection.objects.get()
    with connection.connector.open(connection.parse_config()) as session:
        findings = reconciliation.look(connection, session)
        world.dies_before("publish")
        reconciliation.apply(connection, session, findings, sends_untraced=False)
    assert code(export) is None
    assert kinds(export)[-1] == "STAGED"


@brings_about("exports.RELEASED", "PENDING")
def test_what_was_held_is_let_go(world: World) -> None:
    export = world.pending()
    world.restore()
    call_command("reconcile", "--apply")
    with world.watching(export) as happened:
        call_command("reconcile", "--apply", "--send-untraced")
    assert happened == Happened(
        order=("PUSHING", "PUSHING"),
        export=("PENDING", "PENDING"),
        history=["REQUESTED"],
    )
    assert export.error_json is None
    assert export.next_attempt_at and export.next_attempt_at <= db_now()


@refuses("exports.RELEASED")
def test_what_waits_for_another_reason_is_not_let_go(world: World) -> None:
    export = world.pending()
    foreign = world.exports / export.filename
    foreign.write_text("not ours")
    world.deliver()
    foreign.unlink()
    world.restore()
    call_command("reconcile", "--apply", "--send-untraced")
    assert code(export) == "NAME_CONFLICT"
    assert (export.staged_path, export.next_attempt_at) == (None, None)


@refuses("exports.RELEASED")
def test_what_a_person_has_let_go_is_not_let_go_again(world: World) -> None:
    export = world.pending()
    world.restore()
    call_command("reconcile", "--apply")
    deliver_again(export.id, actor=world.ann)
    call_command("reconcile", "--apply", "--send-untraced")
    assert kinds(export).count("REQUESTED") == 1


# Resolving.
def resolve(world: World, export: ErpExport, outcome: Resolution) -> None:
    manual.resolve(export.id, outcome, actor=world.ann, reason="Asked the ERP team")


@brings_about("exports.RESOLVED_DELIVERED", "PENDING")
@brings_about("orders.SENT", "PUSHING")
def test_a_person_says_that_it_was_delivered(world: World) -> None:
    export = world.tidied()
    assert code(export) == "NO_SPACE" and export.next_attempt_at and export.cleaned_up_at
    with world.watching(export) as happened:
        resolve(world, export, Resolution.DELIVERED)
    assert happened == Happened(
        order=("PUSHING", "PUSHED"),
        export=("PENDING", "SENT"),
        history=["RESOLVED by ann"],
        told=["export.sent"],
        logged=["RESOLVED"],
    )
    assert (export.next_attempt_at, export.error_json, export.cleaned_up_at) == (None, None, None)
    assert export.attempts == 3


@pytest.mark.parametrize("by_person", [False, True])
def test_a_clean_up_removes_what_the_last_one_still_had_to_keep(
    world: World, by_person: bool
) -> None:
    """A server that renames by link and unlink may leave the file under both names."""
    export = world.tidied()
    (staged,) = world.leftovers()
    shutil.copy(world.exports / staged, world.exports / export.filename)
    if by_person:
        resolve(world, export, Resolution.DELIVERED)
    else:
        assert world.deliver() == 1
    assert world.leftovers() == [staged]
    assert world.clean_up() == 1
    assert [path.name for path in world.exports.iterdir()] == [export.filename]


@brings_about("exports.RESOLVED_DELIVERED", "PENDING")
def test_a_person_says_that_what_was_held_was_delivered(world: World) -> None:
    export = world.pending()
    world.restore()
    call_command("reconcile", "--apply")
    with world.watching(export) as happened:
        resolve(world, export, Resolution.DELIVERED)
    assert happened.export == ("PENDING", "SENT")


@refuses("exports.RESOLVED_DELIVERED")
def test_what_waits_was_not_delivered(world: World) -> None:
    assert refusal(world.pending(), Resolution.DELIVERED, world) == "NOT_RESOLVABLE"


@brings_about("exports.RESOLVING", "PENDING")
@brings_about("exports.RESOLVED_NOT_DELIVERED", "PENDING")
@brings_about("orders.FAILED", "PUSHING")
def test_a_person_says_that_it_was_not_delivered(world: World) -> None:
    export = world.claimed()
    with world.watching(export) as happened:
        resolve(world, export, Resolution.NOT_DELIVERED)
    assert happened == Happened(
        order=("PUSHING", "ERROR"),
        export=("PENDING", "FAILED"),
        history=["RESOLVING by ann", "RESOLVED by ann"],
        told=["export.failed"],
        logged=["RESOLVED"],
    )
    assert export.resolving_since
    assert (export.next_attempt_at, export.attempts) == (None, 2)
    assert world.leftovers() == []


@brings_about("exports.RESOLVING", "PENDING")
def test_a_person_begins_to_resolve_an_export(world: World) -> None:
    """The person's process dies before the file is removed."""
    export = world.claimed()
    dies = mock.patch.object(DropzoneSession, "discard", autospec=True, side_effect=Crash)
    with world.watching(export) as happened, dies, pytest.raises(Crash):
        resolve(world, export, Resolution.NOT_DELIVERED)
    assert happened == Happened(
        order=("PUSHING", "PUSHING"),
        export=("PENDING", "PENDING"),
        history=["RESOLVING by ann"],
    )


@refuses("exports.RESOLVING")
def test_nothing_is_removed_of_what_is_not_staged(world: World) -> None:
    """No service asks for it: it is not resolved so. The table refuses it all the same."""
    export = world.pending()
    resolving = lifecycle.Event.RESOLVING
    assert lifecycle.apply(resolving, [export.id], actor=world.ann) == set()


@refuses("exports.RESOLVED_NOT_DELIVERED")
def test_what_waits_is_cancelled_and_not_resolved(world: World) -> None:
    """Also where the dropzone is not asked, for fear of locking the account."""
    pause_by_system(ErpConnection.objects.get(id=world.connection_id), "AUTH_FAILED")
    assert refusal(world.pending(), Resolution.NOT_DELIVERED, world) == "NOT_RESOLVABLE"


@brings_about("exports.RESOLVED_GIVEN_UP", "SENT")
@brings_about("orders.GIVEN_UP", "PUSHED")
def test_a_person_gives_a_sent_export_up(world: World) -> None:
    export = world.sent()
    world.erp_takes(export)
    with world.watching(export) as happened:
        resolve(world, export, Resolution.GIVEN_UP)
    assert happened == Happened(
        order=("PUSHED", "ERROR"),
        export=("SENT", "FAILED"),
        history=["RESOLVED by ann"],
        told=["export.failed"],
        logged=["RESOLVED"],
    )
    assert export.attempts == 2


# What the ERP does.
@brings_about("exports.PICKED_UP", "SENT")
def test_the_erp_takes_a_file(world: World) -> None:
    export = world.sent()
    world.erp_takes(export)
    with world.watching(export) as happened:
        world.poll()
    assert happened == Happened(
        order=("PUSHED", "PUSHED"), export=("SENT", "SENT"), history=["PICKED_UP"]
    )
    assert export.picked_up_at


@refuses("exports.PICKED_UP")
def test_a_file_is_taken_once(world: World) -> None:
    export = world.sent()
    world.erp_takes(export)
    for _ in range(2):
        world.poll()
    assert kinds(export).count("PICKED_UP") == 1


@brings_about("exports.ACKNOWLEDGED", "SENT")
def test_the_erp_accepts_an_export(world: World) -> None:
    export = world.sent()
    world.write_ack("ack", export)
    with world.watching(export) as happened:
        world.poll()
    assert happened == Happened(
        order=("PUSHED", "PUSHED"),
        export=("SENT", "ACKED"),
        history=["ACKED"],
        told=["export.acked"],
        logged=["ACKED"],
    )
    assert export.erp_order_id == "SO-1" and export.acked_at


@brings_about("exports.ACKNOWLEDGED", "SENT")
@brings_about("orders.ACCEPTED", "READY")
def test_the_erp_accepts_an_export_whose_order_does_not_fit(world: World) -> None:
    """An older version left such rows; so may a hand in the database."""
    export = world.sent()
    DraftOrder.objects.update(status="READY")
    with world.watching(export) as happened:
        world.answer("ack", export)
    assert (happened.order, happened.export) == (("READY", "PUSHED"), ("SENT", "ACKED"))


@brings_about("exports.ACKNOWLEDGED", "SENT")
def test_a_person_says_which_export_the_erp_accepts(world: World) -> None:
    export = world.sent()
    ack = world.answer("ack", export, name="sales_order_typo.json")
    with world.watching(export) as happened:
        review.assign(ack.id, export.id, actor=world.ann, reason="Typo")
    assert (happened.export, happened.history) == (("SENT", "ACKED"), ["ACKED by ann"])


@brings_about("exports.REFUSED", "SENT")
@brings_about("orders.REFUSED", "PUSHED")
def test_the_erp_refuses_an_export(world: World) -> None:
    export = world.sent()
    with world.watching(export) as happened:
        world.answer("error", export)
    assert happened == Happened(
        order=("PUSHED", "ERROR"),
        export=("SENT", "FAILED"),
        history=["REFUSED"],
        told=["export.failed"],
        logged=["REFUSED"],
    )
    assert code(export) == "ERP_REFUSED"


@brings_about("exports.REFUSED", "SENT")
@brings_about("orders.REFUSED", "PUSHED")
def test_a_person_says_which_export_the_erp_refuses(world: World) -> None:
    export = world.sent()
    ack = world.answer("error", export, name="sales_order_typo.json")
    with world.watching(export) as happened:
        review.assign(ack.id, export.id, actor=world.ann, reason="Typo")
    assert happened.order == ("PUSHED", "ERROR")
    assert (happened.export, happened.history) == (("SENT", "FAILED"), ["REFUSED by ann"])


@brings_about("exports.CONTRADICTED", "ACKED", "FAILED")
def test_the_erp_says_something_else(world: World, source: str) -> None:
    export = world.acked() if source == "ACKED" else world.refused()
    order = "PUSHED" if source == "ACKED" else "ERROR"
    with world.watching(export) as happened:
        world.answer("error" if source == "ACKED" else "ack", export, number="X-2")
    assert happened == Happened(
        order=(order, order),
        export=(source, source),
        history=["CONTRADICTED"],
        told=["ack.conflict"],
    )


@brings_about("exports.ACCEPTED_LATE", "FAILED")
@brings_about("orders.ACCEPTED", "ERROR")
def test_the_erp_accepts_after_all_what_it_has_refused(world: World) -> None:
    export = world.refused()
    before = export.sent_at
    ack = world.answer("ack", export, number="SO-2")
    with world.watching(export) as happened:
        take(world, ack)
    assert happened == Happened(
        order=("ERROR", "PUSHED"),
        export=("FAILED", "ACKED"),
        history=["ACKED by root"],
        told=["export.acked"],
        logged=["ACKED"],
    )
    assert export.error_json is None
    assert (export.sent_at, export.sent_evidence) == (before, "OBSERVED")


@brings_about("exports.ACCEPTED_LATE", "FAILED")
def test_the_erp_accepts_what_a_person_took_for_not_delivered(world: World) -> None:
    export = world.claimed()
    resolve(world, export, Resolution.NOT_DELIVERED)
    export.refresh_from_db()
    assert (export.sent_at, export.sent_evidence) == (None, "")
    ack = world.answer("ack", export)
    with world.watching(export) as happened:
        take(world, ack)
    assert happened.export == ("FAILED", "ACKED")
    assert export.sent_at and export.sent_evidence == "CONFIRMED"


@brings_about("exports.RENUMBERED", "ACKED")
def test_the_erp_gives_another_number(world: World) -> None:
    export = world.acked()
    ack = world.answer("ack", export, number="SO-2")
    with world.watching(export) as happened:
        take(world, ack)
    assert happened == Happened(
        order=("PUSHED", "PUSHED"),
        export=("ACKED", "ACKED"),
        history=["ACKED by root"],
        told=["export.acked"],
        logged=["ACKED"],
    )
    assert export.erp_order_id == "SO-2"


@brings_about("exports.REVOKED", "ACKED")
@brings_about("orders.REFUSED", "PUSHED")
def test_the_erp_refuses_what_it_has_accepted(world: World) -> None:
    export = world.acked()
    ack = world.answer("error", export)
    with world.watching(export) as happened:
        take(world, ack)
    assert happened == Happened(
        order=("PUSHED", "ERROR"),
        export=("ACKED", "FAILED"),
        history=["REFUSED by root"],
        told=["export.failed"],
        logged=["REFUSED"],
    )
    assert (export.erp_order_id, export.acked_at) == (None, None)

"""Transactions that PostgreSQL breaks off, by a deadlock or a conflict, are tried again."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.db import OperationalError, connection, transaction

from accounts.models import Org, User
from connectors.models import ErpConnection
from exports.delivery.protocol import deliver
from exports.models import BatchItem, ErpExport
from exports.pushing.batches import create_batch
from exports.pushing.push import cancel_export, deliver_again, push_order, retry_order
from orders import approval
from orders.models import DraftOrder
from tests.support.builders import an_approved_order, an_order, some_exports
from tests.support.locks import wait_until_one_waits

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("mounted")]

_BREAK_OFF = """
    CREATE SEQUENCE broken_off;
    CREATE FUNCTION break_off() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF nextval('broken_off') {which} THEN
            RAISE EXCEPTION 'broken off' USING ERRCODE = '{sqlstate}';
        END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER break_off BEFORE INSERT OR UPDATE ON {table}
    FOR EACH ROW EXECUTE FUNCTION break_off();
"""
_CALM = "DROP FUNCTION IF EXISTS break_off CASCADE; DROP SEQUENCE IF EXISTS broken_off;"


def sql(text: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(text)


@pytest.fixture
def breaks_off() -> Iterator[Callable[..., None]]:
    """Break off writes to a table, all but every third: what is rolled back does not uncount."""

    def install(table: str, *, which: str = "% 3 > 0", sqlstate: str = "40P01") -> None:
        sql(_CALM + _BREAK_OFF.format(table=table, which=which, sqlstate=sqlstate))

    yield install
    sql(_CALM)


@pytest.mark.parametrize("sqlstate", ["40001", "40P01"])
def test_what_a_person_does_is_done_at_the_third_try(
    org: Org, ann: User, breaks_off: Callable[..., None], sqlstate: str
) -> None:
    order = an_order(org)
    breaks_off("draft_order", sqlstate=sqlstate)
    approval.approve(order.id, actor=ann)
    breaks_off("erp_export", sqlstate=sqlstate)
    export = push_order(order.id, actor=ann)
    deliver_again(export.id, actor=ann)
    cancel_export(export.id, actor=ann)
    again = retry_order(order.id, actor=ann)
    assert kinds(export) == ["CREATED", "REQUESTED", "CANCELLED"]
    assert kinds(again) == ["CREATED"]
    breaks_off("batch", sqlstate=sqlstate)
    orders = DraftOrder.objects.filter(org=org)
    create_batch(org, action="push", orders=orders, actor=ann)
    assert BatchItem.objects.count() == 1


def test_it_is_not_tried_for_ever(org: Org, ann: User, breaks_off: Callable[..., None]) -> None:
    order = an_approved_order(org, ann)
    breaks_off("erp_export", which="> 0")
    with pytest.raises(OperationalError, match="broken off"):
        push_order(order.id, actor=ann)
    assert not ErpExport.objects.exists()


def test_other_errors_and_other_transactions_are_not_repeated(
    org: Org, ann: User, breaks_off: Callable[..., None]
) -> None:
    order = an_approved_order(org, ann)
    breaks_off("erp_export", which="= 1", sqlstate="57014")
    with pytest.raises(OperationalError, match="broken off"):
        push_order(order.id, actor=ann)
    breaks_off("erp_export", which="= 1")
    with pytest.raises(OperationalError, match="broken off"), transaction.atomic():
        push_order(order.id, actor=ann)


def test_a_delivery_repeats_its_transactions_and_not_its_files(
    org: Org,
    ann: User,
    mounted: ErpConnection,
    dropzone_root: Path,
    breaks_off: Callable[..., None],
) -> None:
    (export,) = some_exports(org, ann)
    breaks_off("erp_export_event")
    assert deliver(mounted.id).sent == 1
    assert [p.name for p in dropzone_root.iterdir()] == [export.filename]
    assert kinds(export) == ["CREATED", "STAGING", "STAGED", "SENT"]


def test_two_that_wait_for_each_other_both_get_done(org: Org, ann: User) -> None:
    """Another transaction locks the order, a cancellation the export; then each wants the other."""
    (export,) = some_exports(org, ann)
    is_locked = threading.Event()

    def annotate() -> None:
        try:
            with transaction.atomic():
                sql("SET LOCAL deadlock_timeout = '20s'")  # the other one is broken off
                order = DraftOrder.objects.select_for_update().get(id=export.draft_order_id)
                is_locked.set()
                wait_until_one_waits()
                ErpExport.objects.filter(id=export.id).update(requested_by=ann)
                order.notes = "kept"
                order.save(update_fields=["notes"])
        finally:
            connection.close()

    other = threading.Thread(target=annotate)
    other.start()
    is_locked.wait(10)
    cancel_export(export.id, actor=ann)
    other.join()
    order = DraftOrder.objects.get()
    assert (order.status, order.notes) == (DraftOrder.Status.APPROVED, "kept")
    assert kinds(export) == ["CREATED", "CANCELLED"]


def kinds(export: ErpExport) -> list[str]:
    return list(export.events.values_list("kind", flat=True))

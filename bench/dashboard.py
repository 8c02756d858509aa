"""The start page and /metrics, with ten thousand exports and with a million.

An export is pushed every eight seconds. The same share of each week fails, waits or is overdue.
People have dealt with everything older than a week, but failed exports stay failed. So a million
exports have seven times as many that need attention, and a hundred times as many to skip.
"""

import time

from django.conf import settings
from django.contrib.auth.models import Group
from django.db import connection as database
from django.test import Client, override_settings

from accounts.models import User
from connectors.models import ErpConnection
from exports.models import CounterProgress, ErpExport
from exports.reporting import counters
from kernel.db import Now, committed_before
from orders.models import Customer
from tests.support.builders import a_connection, a_user, an_org, some_exports

from .copies import copy_acks, copy_exports, run_maintenance
from .measuring import report, timed

FEW, MANY = 10_000, 1_000_000  # exports in the table
CUSTOMERS = 100
NEIGHBOURS = 50  # one in this many exports belongs to another org
ROUNDS = 20
MOST = 3  # at most this many times the time with few

# Of 200 exports, three failed, one needs a decision, and the acks of three are overdue.
_DEALT_WITH = f"n > {7 * 24 * 60 * 60 // 8}"
_STATUS = (
    f"CASE WHEN mod(n, 200) < 3 THEN 'FAILED' WHEN {_DEALT_WITH} THEN 'ACKED'"
    " WHEN mod(n, 200) = 3 THEN 'PENDING' WHEN mod(n, 200) < 7 THEN 'SENT' ELSE 'ACKED' END"
)
_ORDER_STATUS = (
    f"CASE {_STATUS} WHEN 'PENDING' THEN 'PUSHING' WHEN 'FAILED' THEN"
    f" CASE WHEN {_DEALT_WITH} THEN 'REJECTED' ELSE 'ERROR' END ELSE 'PUSHED' END"
)
_AT = "now() - n * interval '8 seconds'"

PAGES = {
    "dashboard": "/admin/",
    "orders": "/admin/orders/draftorder/",
    "failed orders": "/admin/orders/draftorder/?status__exact=ERROR",
    "exports": "/admin/exports/erpexport/",
    "exports that need a decision": "/admin/exports/erpexport/?needs_decision=yes",
    "overdue exports": "/admin/exports/erpexport/?overdue=yes",
    "open failures": "/admin/exports/erpexport/?failure=open",
    "failures by cause": "/admin/exports/erpexport/failures/",
    "answers": "/admin/exports/erpack/",
    "answers that wait for a person": "/admin/exports/erpack/?open=yes",
    "search for a number": "/admin/search/?q=PO-77",
    "search for a customer": "/admin/search/?q=C-77",
    "search for an ERP number": "/admin/search/?q=SO-777",
}


class Shop:
    """An org with many exports, and a person who may view all of it."""

    def __init__(self, name: str) -> None:
        self.org = an_org(name)
        self.user = a_user(self.org, name)
        config = {"mode": "filesystem", "export_path": settings.DROPZONE_ROOTS[0]}
        self.connection = a_connection(self.org, config)
        Customer.objects.bulk_create(
            Customer(org=self.org, erp_customer_number=f"C-{number}", name=f"Customer {number}")
            for number in range(CUSTOMERS)
        )
        (export,) = some_exports(self.org, self.user)
        answered = {"sent_at": Now(), "sent_evidence": "OBSERVED", "acked_at": Now()}
        ErpExport.objects.filter(id=export.id).update(**answered, archived_at=Now())
        self._pattern = export

    def add_exports(self, numbers: range) -> None:
        """Add exports; a higher number means an older export."""
        customers = f"(SELECT array_agg(id) FROM customer WHERE org_id = '{self.org.id}')"
        order = {
            "external_order_number": "'PO-' || n",
            "customer_id": f"({customers})[mod(n, {CUSTOMERS}) + 1]",
            "status": _ORDER_STATUS,
            "created_at": _AT,
        }
        copy_exports(
            self._pattern,
            numbers,
            order=order,
            status=_STATUS,
            payload=f"CASE {_STATUS} WHEN 'PENDING' THEN payload END",
            erp_order_id=f"CASE {_STATUS} WHEN 'ACKED' THEN 'SO-' || n END",
            next_attempt_at="NULL",
            ack_due_at=_AT,
            sent_at=f"CASE WHEN {_STATUS} <> 'PENDING' THEN {_AT} END",
            acked_at=f"CASE {_STATUS} WHEN 'ACKED' THEN {_AT} + mod(n, 97) * interval '1 s' END",
            created_at=_AT,
        )
        with database.cursor() as cursor:
            cursor.execute(
                "INSERT INTO erp_export_event (export_id, kind, status, at)"
                " SELECT id, CASE status WHEN 'FAILED' THEN 'REFUSED' ELSE status END, status,"
                " created_at FROM erp_export WHERE erp_connection_id = %s AND status <> 'PENDING'",
                [self.connection.id],
            )
        copy_acks(self.connection.id)
        ErpConnection.objects.filter(id=self.connection.id).update(last_poll_at=Now())


def measure() -> None:
    shop, neighbour = Shop("bench-dashboard"), Shop("bench-dashboard-neighbour")
    shares = {neighbour: 1 / NEIGHBOURS, shop: 1 - 1 / NEIGHBOURS}
    shop.user.is_staff = True
    shop.user.save()
    shop.user.groups.add(*Group.objects.filter(name="Operator"))
    people = {"one org": shop.user, "all orgs": User.objects.create_superuser("bench-root")}
    fastest: dict[int, dict[str, float]] = {}
    before = 0
    for exports in (FEW, MANY):
        for owner, share in shares.items():
            owner.add_exports(range(int(before * share) + 1, int(exports * share) + 1))
        _count_events(exports - before)
        run_maintenance()
        fastest[exports] = {
            f"{page}, seen by who sees {who}": _fastest(person, path)
            for who, person in people.items()
            for page, path in PAGES.items()
        }
        fastest[exports]["metrics"] = _fastest_scrape()
        before = exports
    for name, few in fastest[FEW].items():
        many = fastest[MANY][name]
        report(
            f"{name}: beside {MANY} exports to {FEW}",
            few_ms=round(few, 1),
            many_ms=round(many, 1),
            ratio=round(many / few, 2),
            target=MOST,
            met=many / few <= MOST,
        )


@override_settings(ALLOWED_HOSTS=["testserver"])
def _fastest(person: User, path: str) -> float:
    """Return the milliseconds of the fastest round, because the machine may be busy in some."""
    client = Client()
    client.force_login(person)

    return _fastest_answer(client, path)


@override_settings(ALLOWED_HOSTS=["testserver"], METRICS_TOKEN="bench")
def _fastest_scrape() -> float:
    return _fastest_answer(Client(headers={"Authorization": "Bearer bench"}), "/metrics")


def _fastest_answer(client: Client, path: str) -> float:
    def look(_: int) -> None:
        assert client.get(path).status_code == 200

    return min(timed(look, rounds=ROUNDS))


def _count_events(exports: int) -> None:
    """Let the counters catch up, as a worker does once a minute."""
    counters.count_events()
    before = CounterProgress.objects.get()
    while committed_before() <= before.high_watermark_at:
        time.sleep(0.1)
    began = time.perf_counter()
    while counters.count_events():
        pass
    seconds = time.perf_counter() - began
    events = CounterProgress.objects.get().position - before.position
    report(f"count the events of {exports} exports", events_per_s=round(events / seconds))

"""The API under load: gunicorn as in the image, with ten thousand exports and with a million.

20 requests a second of all kinds start at fixed times, even if earlier ones are still running. Each
is timed from the moment it was due. The results are compared with a bare view in the same run,
`bench.bare.BareViewSet`, which checks a token and a permission like every view of the API and
returns `{}`. A Django view without any checks is also measured.

No worker runs, because it would compete with the web server for the processors. So only one push a
minute enqueues a delivery, which stays in the queue.
"""

import os
import random
import statistics
import time
from base64 import urlsafe_b64encode
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from http.client import HTTPConnection
from urllib.parse import urlencode

from django.conf import settings

from accounts.tokens import create_token
from connectors.models import ErpConnection
from exports.models import ErpExport
from kernel.db import Now
from orders.models import Customer
from tests.support.api import EXPORTS, ORDERS, person
from tests.support.builders import a_connection, an_approved_order, an_org, some_exports
from tests.support.processes import web
from tests.support.servers.process import HOST, free_port, kill_tree

from .copies import copy_acks, copy_exports, run_maintenance
from .measuring import report

FEW, MANY = 10_000, 1_000_000  # exports in the table
NEIGHBOURS = 50  # one in this many exports belongs to another org
CUSTOMERS = 1000
PER_SECOND = 20
ROUNDS, WARM_UP = 120, 20  # requests of each kind
TIMEOUT = 10
MOST = 4  # at most this many times the time of the bare view
BARE, NOTHING, PUSH = "bare view of the API", "view without a database", "push"

# Of 200 exports, one waits, three failed and three have no ack; one in ten missing acks is overdue.
_STATUS = (
    "CASE WHEN mod(n, 200) = 1 THEN 'PENDING' WHEN mod(n, 200) < 4 THEN 'FAILED'"
    " WHEN mod(n, 200) < 7 THEN 'SENT' ELSE 'ACKED' END"
)
_DUE_AT = "now() + CASE WHEN mod(n, 2000) < 7 THEN interval '-1 hour' ELSE interval '1 day' END"
_AT = "now() - n * interval '8 seconds'"


class Shop:
    """An org with many exports and a client of its API."""

    def __init__(self, name: str) -> None:
        self.org = an_org(name)
        self.user = person(name, self.org, "Integration")
        _, self.token = create_token(self.user, org=self.org, name="bench")
        config = {"mode": "filesystem", "export_path": settings.DROPZONE_ROOTS[0]}
        self.connection = a_connection(self.org, config)
        Customer.objects.bulk_create(
            Customer(org=self.org, erp_customer_number=f"C-{number}", name="Muster GmbH")
            for number in range(CUSTOMERS)
        )
        (export,) = some_exports(self.org, self.user)
        answered = {"sent_at": Now(), "sent_evidence": "OBSERVED", "acked_at": Now()}
        ErpExport.objects.filter(id=export.id).update(**answered, archived_at=Now())
        self._pattern = export

    def add_exports(self, numbers: range) -> None:
        """Add exports; a higher number means an older export."""
        customers = f"(SELECT array_agg(id) FROM customer WHERE org_id = '{self.org.id}')"
        times = {"created_at": _AT, "updated_at": f"{_AT} + interval '5 seconds'"}
        order = {
            "external_order_number": "'PO-' || n",
            "customer_id": f"({customers})[mod(n, {CUSTOMERS}) + 1]",
            "status": "'PUSHED'",
            **times,
        }
        copy_exports(
            self._pattern,
            numbers,
            order=order,
            status=_STATUS,
            payload=f"CASE {_STATUS} WHEN 'PENDING' THEN payload END",
            erp_order_id=f"CASE {_STATUS} WHEN 'ACKED' THEN 'SO-' || n END",
            ack_due_at=_DUE_AT,
            sent_at=_AT,
            acked_at=_AT,
            **times,
        )
        copy_acks(self.connection.id)
        ErpConnection.objects.filter(id=self.connection.id).update(last_poll_at=Now())

    def questions(self, exports: int) -> dict[str, str]:
        """Return the paths to GET by the kind of request."""
        number = f"PO-{exports // 2}"
        middle = ErpExport.objects.get(org=self.org, draft_order__external_order_number=number)
        cursor = f"{middle.created_at.isoformat()} {middle.id}".encode()
        lists = {
            "newest exports": {},
            "exports from the middle on": {
                "cursor": urlsafe_b64encode(cursor).decode().rstrip("=")
            },
            "changes from the middle on": {"updated_since": middle.updated_at.isoformat()},
            "failed exports": {"status": ErpExport.Status.FAILED.value},
            "overdue exports": {"overdue": "true"},
            "exports of a connection": {"erp_connection": str(self.connection.id)},
            "exports of an order number": {"external_order_number": number},
        }
        paths = {name: f"{EXPORTS}?{urlencode(asked)}" for name, asked in lists.items()}
        return {BARE: "/api/bare", NOTHING: "/nothing", **paths}

    def pushes(self, exports: int) -> list[str]:
        """Return paths that each push an approved order."""
        numbers = range(ROUNDS + WARM_UP)
        orders = [
            an_approved_order(self.org, self.user, f"NEW-{exports}-{number}", lines=10)
            for number in numbers
        ]
        return [f"{ORDERS}/{order.id}/push" for order in orders]


def measure() -> None:
    shop, neighbour = Shop("bench-api"), Shop("bench-neighbour")
    shares = {neighbour: 1 / NEIGHBOURS, shop: 1 - 1 / NEIGHBOURS}
    slowest: dict[int, dict[str, float]] = {}
    before = 0
    for exports in (FEW, MANY):
        for owner, share in shares.items():
            owner.add_exports(range(int(before * share) + 1, int(exports * share) + 1))
        run_maintenance()
        with _gunicorn() as port:
            took = _load(port, shop, int(exports * shares[shop]))
        slowest[exports] = _report(took, exports)
        before = exports
    for name, p95 in slowest[MANY].items():
        ratio = p95 / slowest[FEW][name]
        report(f"{name}: p95 beside {MANY} exports to {FEW}", ratio=round(ratio, 2))


def _load(port: int, shop: Shop, exports: int) -> dict[str, list[float]]:
    """Return the milliseconds from the due time of each request to its response, by kind."""
    questions = shop.questions(exports)
    pushes = iter(shop.pushes(exports))
    kinds = [PUSH, *questions]

    def ask(kind: str, due: float) -> float:
        method, path = ("POST", next(pushes)) if kind == PUSH else ("GET", questions[kind])
        return _ask(port, shop.token, method, path, due)

    took: dict[str, list[Future[float]]] = defaultdict(list)
    # More threads than concurrent requests, so that no request waits for a thread.
    with ThreadPoolExecutor(PER_SECOND * TIMEOUT) as threads:
        for kind in kinds:
            # Send them at the same time, so that every process of the server gets some.
            wait([threads.submit(ask, kind, time.perf_counter()) for _ in range(WARM_UP)])
        due = time.perf_counter()
        for _ in range(ROUNDS):
            for kind in random.sample(kinds, len(kinds)):
                due += 1 / PER_SECOND
                time.sleep(max(0, due - time.perf_counter()))
                took[kind].append(threads.submit(ask, kind, due))
    return {kind: [asked.result() for asked in took[kind]] for kind in kinds}


def _ask(port: int, token: str, method: str, path: str, due: float) -> float:
    connection = HTTPConnection(HOST, port, timeout=TIMEOUT)
    # The header that a proxy for TLS adds.
    headers = {"Authorization": f"Bearer {token}", "X-Forwarded-Proto": "https"}
    connection.request(method, path, headers=headers)
    with connection.getresponse() as response:
        answer = response.read()
    assert response.status in (200, 202), (response.status, answer)
    return 1000 * (time.perf_counter() - due)


def _report(took: Mapping[str, Sequence[float]], exports: int) -> dict[str, float]:
    """Report how long each kind took; return the p95 of each."""
    p95 = {kind: statistics.quantiles(times, n=20)[-1] for kind, times in took.items()}
    for kind, times in took.items():
        ratio = p95[kind] / p95[BARE]
        report(
            f"{kind} beside {exports} exports, {PER_SECOND} requests a second",
            median_ms=round(statistics.median(times), 1),
            p95_ms=round(p95[kind], 1),
            rounds=len(times),
            to_bare=round(ratio, 2),
            target=MOST,
            met=ratio <= MOST,
        )
    return p95


@contextmanager
def _gunicorn() -> Iterator[int]:
    """The web server as the image starts it, on a free port."""
    port = free_port()
    env = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "bench.settings",
        "DEBUG": "false",
        "ALLOWED_HOSTS": HOST,
        "TRUST_X_FORWARDED_PROTO": "true",
        # The rate limit counts requests but allows all of them.
        "API_REQUESTS_PER_MINUTE": "1000000",
    }
    server = web(env, port)
    try:
        yield port
    finally:
        kill_tree(server)

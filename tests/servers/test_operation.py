"""The whole service while its parts restart: no order is lost or doubled, no client sees an error.

Two web servers, three workers, PostgreSQL, an archive on S3, an ERP, and another service that
sends orders all the time.
"""

import itertools
import json
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import connection as database
from django_q.tasks import async_task

from accounts.tokens import create_token
from exports.models import ErpExport, Worker
from simulator.erp import ErpSimulator
from simulator.script import Script
from tests.support import waiting
from tests.support.api import ORDER, ORDERS, person
from tests.support.builders import a_connection, an_org
from tests.support.processes import manage, web
from tests.support.servers import S3Server
from tests.support.servers.process import HOST, free_port, kill_tree

pytestmark = pytest.mark.django_db(transaction=True)

Status = ErpExport.Status
OUTAGE_SECONDS = 20


class Client(threading.Thread):
    """Another service: it sends orders, and asks again for what was not answered, elsewhere.

    `statuses`: how often each was answered. `pushed`: the orders whose push was accepted.
    """

    def __init__(self, token: str, ports: list[int]) -> None:
        super().__init__()
        self.statuses: Counter[int] = Counter()
        self.pushed: list[str] = []
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._ports = itertools.cycle(ports)
        self._is_over = threading.Event()

    def run(self) -> None:
        while not self._is_over.is_set():
            number = uuid.uuid4().hex
            order = self._ask(ORDERS, ORDER | {"external_order_number": number}, key=number)["id"]
            # Approved already, if the answer to the first attempt was lost.
            self._ask(f"{ORDERS}/{order}/approve", {}, right=(200, 409))
            self._ask(f"{ORDERS}/{order}/push", {}, key=f"{number}-push")
            self.pushed.append(order)

    def stop(self) -> None:
        self._is_over.set()
        self.join()

    def _ask(
        self, path: str, body: Any, *, key: str = "", right: tuple[int, ...] = (201, 202)
    ) -> Any:
        headers = self._headers | ({"Idempotency-Key": key} if key else {})
        deadline = time.monotonic() + OUTAGE_SECONDS + 40
        while time.monotonic() < deadline:
            try:
                with closing(HTTPConnection(HOST, next(self._ports), timeout=30)) as connection:
                    connection.request("POST", path, json.dumps(body), headers)
                    response = connection.getresponse()
                    answer = response.read()
            except (OSError, HTTPException):
                time.sleep(0.05)
                continue
            self.statuses[response.status] += 1
            if response.status in right:
                return json.loads(answer)
            assert response.status == 503, answer
            time.sleep(0.5)
        raise AssertionError(f"{path}: no answer")


@dataclass
class Service:
    env: dict[str, str]
    erp: ErpSimulator
    token: str
    running: dict[str, Any] = field(default_factory=dict)
    ports: list[int] = field(default_factory=lambda: [free_port(), free_port()])

    @property
    def names(self) -> list[str]:
        return [f"web {port}" for port in self.ports] + [f"worker {n}" for n in range(3)]

    def start(self, name: str) -> None:
        kind, _, which = name.partition(" ")
        self.running[name] = (
            web(self.env, int(which), "--workers=1")
            if kind == "web"
            else manage(self.env | {"WORKERS": "1"}, "worker")
        )

    def stop(self, name: str) -> None:
        process = self.running.pop(name)
        if name.startswith("worker"):
            # While it only starts, a signal ends it as it does any process.
            until(lambda: Worker.objects.filter(pid=process.pid).exists())
        process.terminate()
        assert process.wait(40) == 0, name

    @contextmanager
    def load(self) -> Iterator[Client]:
        client = Client(self.token, self.ports)
        client.start()
        try:
            yield client
        finally:
            client.stop()

    def settled(self, client: Client) -> None:
        """Wait until the ERP has accepted everything, and look whether it has everything once."""
        until(lambda: not ErpExport.objects.exclude(status=Status.ACKED).exists())
        taken = [str(order.document.draft_order_id) for order in self.erp.orders if order.document]
        assert sorted(taken) == sorted(client.pushed)
        assert len(self.erp.orders) == len(taken) == ErpExport.objects.count() > 0


until = partial(waiting.until, seconds=120)


@pytest.fixture
def service(
    child_env: dict[str, str], dropzone_root: Path, s3: S3Server, bucket: str
) -> Iterator[Service]:
    org = an_org()
    folders = {name: dropzone_root / name for name in ("exports", "acks")}
    for folder in folders.values():
        folder.mkdir()
    paths = {f"{name.removesuffix('s')}_path": str(folder) for name, folder in folders.items()}
    a_connection(org, {"mode": "filesystem", **paths})
    _, token = create_token(person("otto", org, "Integration"), org=org, name="load")
    env = child_env | {
        "ACK_POLL_INTERVAL_SECONDS": "1",
        "ARCHIVE_BUCKET": bucket,
        "ARCHIVE_ENDPOINT_URL": s3.endpoint_url,
        "ARCHIVE_REGION": "us-east-1",
        "ARCHIVE_ACCESS_KEY": s3.access_key,
        "ARCHIVE_SECRET_KEY": s3.secret_key,
        "LOG_LEVEL": "CRITICAL",
    }
    with ExitStack() as stack:
        erp = stack.enter_context(ErpSimulator(**folders, script=Script(())))
        service = Service(env, erp, token)
        try:
            for name in service.names:
                service.start(name)
            yield service
        finally:
            for process in service.running.values():
                kill_tree(process)


def test_everything_is_restarted_in_turn(service: Service, s3: S3Server, bucket: str) -> None:
    with service.load() as client:
        for name in service.names:
            before = len(client.pushed)
            service.stop(name)
            service.start(name)
            until(lambda before=before: len(client.pushed) > before + 5)
    service.settled(client)
    assert set(client.statuses) <= {200, 201, 202, 409}
    async_task("exports.delivery.archive.archive_pending")
    until(lambda: not ErpExport.objects.filter(archived_at=None).exists())
    stored = s3.client().list_objects_v2(Bucket=bucket)["Contents"]
    assert len(stored) == len(client.pushed)


@pytest.mark.long
def test_the_archive_and_then_the_database_are_down(service: Service, s3: S3Server) -> None:
    s3.stop()
    try:
        with service.load() as client:
            until(lambda: len(client.pushed) > 20)
        service.settled(client)
        assert not ErpExport.objects.exclude(archived_at=None).exists()
    finally:
        s3.start()

    with service.load() as later:
        database_down(OUTAGE_SECONDS)
        restored = len(later.pushed)
        until(lambda: len(later.pushed) > restored + 5)
    later.pushed += client.pushed
    service.settled(later)
    assert {503} < set(later.statuses) <= {200, 201, 202, 409, 503}
    async_task("exports.delivery.archive.archive_pending")
    until(lambda: not ErpExport.objects.filter(archived_at=None).exists())


def database_down(seconds: float) -> None:
    """Nobody reaches the database of the tests."""
    of_server = database.settings_dict | {"NAME": "postgres"}
    own = database.settings_dict["NAME"]
    database.close()
    with psycopg.connect(
        host=of_server["HOST"],
        port=of_server["PORT"],
        user=of_server["USER"],
        password=of_server["PASSWORD"],
        dbname="postgres",
        autocommit=True,
    ) as server:
        server.execute(f'ALTER DATABASE "{own}" ALLOW_CONNECTIONS false')
        try:
            server.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [own]
            )
            time.sleep(seconds)
        finally:
            server.execute(f'ALTER DATABASE "{own}" ALLOW_CONNECTIONS true')

"""An existing installation goes on with the present service: its data, people, tokens and files.

The dumps in tests/data were made by the service of an earlier commit, see make_dumps.py there.
"""

import base64
import fcntl
import gzip
import http.client
import json
import os
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import psycopg
import pytest
from django.utils.module_loading import import_string

from tests.data.make_dumps import DATA, DROPZONES
from tests.support.processes import run, web, worker
from tests.support.servers import postgres
from tests.support.servers.process import HOST, free_port, kill_tree
from tests.support.waiting import until

DUMPS = sorted(path.name.removesuffix(".sql.gz") for path in DATA.glob("*.sql.gz"))
API = "/api/v1"


@dataclass
class Installation:
    """A restored dump. `known`: what make_dumps.py noted beside it. `query` asks its database."""

    env: dict[str, str]
    known: dict[str, Any]
    query: Callable[[str], list[tuple[Any, ...]]]

    def manage(self, *arguments: str, **env: str) -> str:
        done = run({**self.env, **env}, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


class Browser:
    """A person at the admin, or a program with a token, over a socket."""

    def __init__(self, port: int, **headers: str) -> None:
        self._port = port
        self._headers = headers
        self.cookies: dict[str, str] = {}

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, str]:
        """The status and the text of an answer; a redirect is not followed."""
        headers = {
            **self._headers,
            "Cookie": "; ".join(f"{k}={v}" for k, v in self.cookies.items()),
        }
        is_api = path.startswith(API)
        if body is not None:
            headers["Content-Type"] = (
                "application/json" if is_api else "application/x-www-form-urlencoded"
            )
            body = json.dumps(body) if is_api else urlencode(body)
        connection = http.client.HTTPConnection(HOST, self._port, timeout=30)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            for line in response.headers.get_all("Set-Cookie", ()):
                name, _, value = line.partition(";")[0].partition("=")
                self.cookies[name] = value
            return response.status, response.read().decode()
        finally:
            connection.close()

    def json(self, method: str, path: str, body: Any = None) -> Any:
        status, text = self.ask(method, API + path, body)
        assert status < 300, text
        return json.loads(text)

    def submit(self, path: str, **fields: str) -> int:
        """Send the form of a page, with its CSRF token."""
        status, page = self.ask("GET", path)
        assert status == 200, page
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)
        assert token, page
        return self.ask("POST", path, {"csrfmiddlewaretoken": token[1], **fields})[0]

    def sign_in(self, name: str, password: str) -> None:
        assert self.submit("/admin/login/", username=name, password=password) == 302


@contextmanager
def restored(name: str, tmp_path: Path) -> Iterator[Installation]:
    known = json.loads((DATA / f"{name}.json").read_text())
    script = gzip.decompress((DATA / f"{name}.sql.gz").read_bytes()).decode()
    with _database(name, script, tmp_path) as (url, query), _dropzones(known["files"]):
        env = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "orderflow.settings",
            "DATABASE_URL": url,
            "ARCHIVE_ROOT": str(tmp_path / "archive"),
            # The dump gets older, and its exports must not be given up.
            "EXPORT_GIVE_UP_HOURS": "1000000",
            **known["settings"],
        }
        yield Installation(env, known, query)


@contextmanager
def _database(
    name: str, script: str, tmp_path: Path
) -> Iterator[tuple[str, Callable[[str], list[tuple[Any, ...]]]]]:
    if name.endswith("sqlite"):
        file = tmp_path / "upgraded.sqlite3"
        with sqlite3.connect(file) as database:
            database.executescript(script)
            yield f"sqlite:///{file}", lambda sql: database.execute(sql).fetchall()
        database.close()
    else:
        with postgres.Postgres() as server:
            with psycopg.connect(server.url, autocommit=True) as database:
                database.execute(script)  # type: ignore[arg-type]
            # The dump has emptied the search path of its session.
            with psycopg.connect(server.url, autocommit=True) as database:
                yield server.url, lambda sql: database.execute(sql).fetchall()  # type: ignore[arg-type]


@contextmanager
def _dropzones(files: dict[str, str]) -> Iterator[None]:
    """The folder to which the dump's connections lead; one test at a time has it."""
    with open(f"{DROPZONES}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        shutil.rmtree(DROPZONES, ignore_errors=True)
        for name in ("exports", "acks"):
            (DROPZONES / name).mkdir(parents=True)
        for name, content in files.items():
            path = DROPZONES / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(base64.b64decode(content))
        try:
            yield
        finally:
            shutil.rmtree(DROPZONES)


@contextmanager
def served(installation: Installation) -> Iterator[int]:
    port = free_port()
    process = web(installation.env, port, "--workers=1")
    try:
        yield port
    finally:
        kill_tree(process)


def test_a_dump_of_each_database_is_there() -> None:
    assert {name.partition("-")[2] for name in DUMPS} == {"sqlite", "postgresql"}


@pytest.mark.parametrize("name", DUMPS)
def test_an_existing_installation_goes_on(name: str, tmp_path: Path) -> None:
    with restored(name, tmp_path) as it:
        [(old_key,)] = it.query("SELECT session_key FROM django_session")
        before = counts(it)
        it.manage("migrate", "--verbosity=0")
        assert before.items() <= counts(it).items()
        with served(it) as port:
            signs_in_and_decides(it, port, old_key)
            decides_about_acks(it, port)
        delivers(it)
        its_secrets_are_readable(it)


def test_tasks_of_the_former_release_stop_nothing(tmp_path: Path) -> None:
    """They name functions that are gone. The queue only wakes: sweeps do the work."""
    (name,) = (name for name in DUMPS if name.endswith("postgresql"))
    with restored(name, tmp_path) as it:
        [(former,)] = it.query("SELECT max(id) FROM django_q_ormq")
        assert former
        it.manage("migrate", "--verbosity=0")
        for (func,) in it.query("SELECT func FROM django_q_schedule"):
            assert callable(import_string(func))
        it.manage("claim_delivery_instance", "--confirm", it.env["DELIVERY_INSTANCE"])
        with worker(it.env) as process:
            until(lambda: is_done(it, former) or process.poll() is not None, seconds=40)
            assert process.poll() is None, "the worker ended"
        failed = it.query("SELECT func FROM django_q_task WHERE NOT success")
        assert "exports.tasks.deliver" in {func for (func,) in failed}


def is_done(it: Installation, former: int) -> bool:
    """Whether the queue has none of its former tasks, and what they were about was sent."""
    if it.query(f"SELECT 1 FROM django_q_ormq WHERE id <= {former}"):
        return False
    waiting = ("staged", "waiting")
    return all(state(it, it.known["orders"][which])[1] == "SENT" for which in waiting)


@pytest.mark.long
@pytest.mark.parametrize("name", DUMPS)
def test_migrations_go_back_and_forth_with_data(name: str, tmp_path: Path) -> None:
    with restored(name, tmp_path) as it:
        # Names sort as they are numbered.
        last = dict(it.query("SELECT app, max(name) FROM django_migrations GROUP BY app"))
        before = counts(it)
        it.manage("migrate", "--verbosity=0")
        back = [
            f"call_command('migrate', {app!r}, {to!r}, verbosity=0)" for app, to in last.items()
        ]
        code = "; ".join(["from django.core.management import call_command", *back])
        it.manage("shell", "--verbosity=0", "--command", code)
        assert last == dict(it.query("SELECT app, max(name) FROM django_migrations GROUP BY app"))
        it.manage("migrate", "--verbosity=0")
        assert before.items() <= counts(it).items()


def counts(it: Installation) -> dict[str, int]:
    """How many rows each table has that must keep its rows."""
    tables = (
        "org", "orderflow_user", "membership", "auth_group", "api_token", "customer",
        "draft_order", "draft_order_line", "erp_connection", "erp_export", "erp_ack", "audit_entry",
        "webhook", "batch", "batch_item",
    )  # fmt: skip
    return {table: it.query(f'SELECT count(*) FROM "{table}"')[0][0] for table in tables}


def state(it: Installation, number: str) -> tuple[str, str]:
    """The status of the order with this number, and of its last export."""
    [row] = it.query(
        "SELECT o.status, e.status FROM erp_export e JOIN draft_order o ON o.id = e.draft_order_id"
        f" JOIN org ON org.id = o.org_id WHERE o.external_order_number = '{number}'"
        " AND org.slug = 'acme' ORDER BY e.created_at DESC LIMIT 1"
    )
    return row[0], row[1]


def signs_in_and_decides(it: Installation, port: int, old_key: str) -> None:
    known = it.known
    for cookie in (known["cookie"], old_key):
        stranger = Browser(port)
        stranger.cookies["sessionid"] = cookie
        assert stranger.ask("GET", "/admin/")[0] == 302, "the old session is over"
    for person in ("root", "viewer", "approver", "operator", "integration", "auditor"):
        browser = Browser(port)
        browser.sign_in(person, known["password"])
        assert browser.ask("GET", "/admin/")[0] == 200, person

    for token in known["dead_tokens"]:
        dead = Browser(port, Authorization=f"Bearer {token}")
        assert dead.ask("GET", f"{API}/draft-orders")[0] == 401
    shop = Browser(port, Authorization=f"Bearer {known['token']}")
    for what in ("draft-orders", "erp-exports", "erp-acks", "erp-connections", "batches"):
        shop.json("GET", f"/{what}")
    number = known["orders"]["ready"]
    (order,) = shop.json("GET", f"/draft-orders?external_order_number={number}")["results"]
    shop.json("POST", f"/draft-orders/{order['id']}/approve", {})
    keyed = Browser(port, Authorization=f"Bearer {known['token']}", **{"Idempotency-Key": "new"})
    keyed.json("POST", f"/draft-orders/{order['id']}/push", {})


def decides_about_acks(it: Installation, port: int) -> None:
    number = it.known["orders"]["conflict"]
    assert state(it, number) == ("PUSHED", "ACKED")
    [(ack,)] = it.query("SELECT id FROM erp_ack WHERE classification = 'CONFLICT'")
    operator = Browser(port)
    operator.sign_in("operator", it.known["password"])
    assert (
        operator.submit(f"/admin/exports/erpack/{UUID(str(ack))}/accept/", reason="As they said")
        == 302
    )
    assert state(it, number) == ("ERROR", "FAILED")


def delivers(it: Installation) -> None:
    orders = it.known["orders"]
    before = {path.name for path in (DROPZONES / "exports").glob("*.json")}
    it.manage("claim_delivery_instance", "--confirm", it.env["DELIVERY_INSTANCE"])
    assert state(it, orders["staged"])[1] == state(it, orders["waiting"])[1] == "PENDING"
    [(waiting,)] = it.query(
        "SELECT count(*) FROM erp_export e JOIN org ON org.id = e.org_id"
        " WHERE org.slug = 'acme' AND e.status = 'PENDING'"
    )
    it.manage("deliver")
    sent = ("staged", "waiting", "ready")
    for name in sent:
        assert state(it, orders[name]) == ("PUSHED", "SENT"), name
    left = [path.name for path in (DROPZONES / "exports").iterdir() if path.suffix != ".json"]
    assert left == [], "the staged file was published"
    new = {path.name for path in (DROPZONES / "exports").glob("*.json")} - before
    assert len(new) == waiting > len(sent)
    for name in new:
        answer = {"status": "ACKED", "erp_order_id": f"SO-{name}"}
        (DROPZONES / "acks" / f"ack_{name}").write_text(json.dumps(answer))
    it.manage("poll_acks")
    for name in ("unread", *sent):
        assert state(it, orders[name]) == ("PUSHED", "ACKED"), name


def its_secrets_are_readable(it: Installation) -> None:
    code = (
        "import json; from connectors.models import ErpConnection; from notifications.models import"
        " Webhook; configs = {c.org.slug: c.config for c in ErpConnection.objects.all()};"
        " print(json.dumps(configs, default=str))"
    )
    configs = json.loads(it.manage("shell", "--verbosity=0", "--command", code).splitlines()[-1])
    for org, secrets in it.known["connections"].items():
        assert configs[org].items() >= secrets.items()
    keys = f"a-new-key-of-the-tests-only-0123456789ab,{it.env['FERNET_KEYS']}"
    it.manage("rotate_fernet_keys", FERNET_KEYS=keys)

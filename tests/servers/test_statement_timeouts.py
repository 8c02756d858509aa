"""The web server's database role has a limit for statements, which holds behind PgBouncer too."""

import csv
import io
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
import requests
from django.db import connection, transaction
from django.test import Client

from accounts.models import Org, User
from accounts.tokens import create_token
from orders.models import DraftOrder
from tests.support.admins import logged_in
from tests.support.builders import an_order
from tests.support.processes import run, web
from tests.support.servers import PgBouncer, postgres
from tests.support.servers.process import HOST, free_port, kill_tree

ROOT = Path(__file__).parents[2]
ROLE = "web_of_tests"
PASSWORD = "web-of-tests"
LIMIT = 1  # second

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def roles_env(child_env: dict[str, str], tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a web process, with the role that deploy/ makes, but less time."""
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no roles")
    owner = child_env["DATABASE_URL"]
    make_role(owner, tmp_path)
    with psycopg.connect(owner, autocommit=True) as session:
        session.execute(f"ALTER ROLE {ROLE} SET statement_timeout = '{LIMIT}s'")
        yield {**child_env, "DATABASE_URL": as_role(owner)}
    with psycopg.connect(owner, autocommit=True) as session:
        session.execute(f"DROP OWNED BY {ROLE}")
        session.execute(f"DROP ROLE {ROLE}")


def make_role(owner: str, folder: Path) -> None:
    (folder / "password").write_text(f"{PASSWORD}\n")
    subprocess.run(
        [
            *(postgres.programs() / "psql", "--no-psqlrc", "--quiet", f"--dbname={owner}"),
            *(f"--set=web={ROLE}", "--set=owner=postgres"),
            f"--file={ROOT / 'deploy/postgres/web-role.sql'}",
        ],
        check=True,
        env={"WEB_PASSWORD_FILE": str(folder / "password"), "PATH": "/usr/bin:/bin"},
    )


def as_role(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{ROLE}:{PASSWORD}@{parts.hostname}:{parts.port}"))


@contextmanager
def web_server(env: dict[str, str], client: Client) -> Iterator[tuple[str, requests.Session]]:
    """The address of a web server, and a browser that is logged in there like the client."""
    port = free_port()
    process = web(env, port, "--workers=1")
    browser = requests.Session()
    browser.cookies.set("sessionid", client.cookies["sessionid"].value)
    try:
        yield f"http://{HOST}:{port}", browser
    finally:
        kill_tree(process)


@contextmanager
def held_up(table: str) -> Iterator[None]:
    """While it lasts, every statement about the table waits."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f'LOCK TABLE "{table}"')
        yield


def test_a_slow_statement_is_stopped_and_every_row_comes_behind_pgbouncer(
    roles_env: dict[str, str], org: Org, approver: User, pgbouncer: type[PgBouncer]
) -> None:
    count = 4500
    DraftOrder.objects.bulk_create(
        DraftOrder(org=org, external_order_number=f"PO-{n}", currency="EUR") for n in range(count)
    )
    _, token = create_token(approver, org=org, name="Shop")
    api = {"Authorization": f"Bearer {token}"}
    order = an_order(org, "PO-9999")
    with (
        pgbouncer(roles_env["DATABASE_URL"]) as bouncer,
        web_server({**roles_env, "DATABASE_URL": bouncer.url}, logged_in(approver)) as (
            url,
            browser,
        ),
    ):
        orders = f"{url}/admin/orders/draftorder/"
        assert browser.get(orders).status_code == 200
        approval = f"{url}/api/v1/draft-orders/{order.pk}/approve"
        assert requests.post(approval, headers=api).status_code == 200
        with held_up("draft_order"):
            for page in (orders, f"{orders}csv/", f"{url}/admin/"):
                began = time.monotonic()
                response = browser.get(page)
                assert response.status_code == 503
                assert time.monotonic() - began < LIMIT + 3
                assert "took too long" in response.text and "Traceback" not in response.text
            answer = requests.get(f"{url}/api/v1/draft-orders", headers=api)
            assert (answer.status_code, answer.json()["code"]) == (503, "timeout")
        assert browser.get(orders).status_code == 200
        header, *rows = csv.reader(io.StringIO(browser.get(f"{orders}csv/?o=1").text[1:]))
        numbers = [row[header.index("number")] for row in rows]
        assert numbers == [*sorted(f"PO-{n}" for n in range(count)), "PO-9999"]


def test_the_role_of_the_web_server_has_a_limit_and_the_one_of_the_worker_has_none(
    child_env: dict[str, str], roles_env: dict[str, str], tmp_path: Path
) -> None:
    make_role(child_env["DATABASE_URL"], tmp_path)
    for env, limit in ((child_env, "0"), (roles_env, "30s")):
        with psycopg.connect(env["DATABASE_URL"]) as session:
            assert session.execute("SHOW statement_timeout").fetchone() == (limit,)
    # What runs before the web server starts.
    checked = ("check", "--deploy", "--database", "default")
    assert "orderflow.W002" in run(child_env, *checked).stderr
    said = run(roles_env, *checked).stderr
    assert "orderflow.W002" not in said and "orderflow.W003" not in said
    assert "orderflow.W002" not in run(child_env, *checked[:1], *checked[2:]).stderr
    with psycopg.connect(child_env["DATABASE_URL"], autocommit=True) as session:
        session.execute(f"REVOKE pg_read_all_stats FROM {ROLE}")
    assert "orderflow.W003" in run(roles_env, *checked).stderr


def test_the_role_reads_and_writes_rows_of_tables_that_later_migrations_make(
    child_env: dict[str, str], roles_env: dict[str, str]
) -> None:
    with psycopg.connect(child_env["DATABASE_URL"], autocommit=True) as owner:
        owner.execute("CREATE TABLE later (id bigint GENERATED BY DEFAULT AS IDENTITY, x int)")
        try:
            with psycopg.connect(roles_env["DATABASE_URL"], autocommit=True) as session:
                session.execute("INSERT INTO later (x) VALUES (1)")
                session.execute("UPDATE later SET x = 2")
                assert session.execute("SELECT id, x FROM later").fetchone() == (1, 2)
                session.execute("DELETE FROM later")
                for statement in ("DROP TABLE later", "TRUNCATE later", "CREATE TABLE x ()"):
                    with pytest.raises(psycopg.errors.InsufficientPrivilege):
                        session.execute(statement)
        finally:
            owner.execute("DROP TABLE later")


def test_the_role_sees_that_a_worker_has_not_committed_yet(
    child_env: dict[str, str], roles_env: dict[str, str]
) -> None:
    """Else a list of changes would pass over what the worker is about to commit."""
    ask = "from kernel import db; db._LAG_SECONDS = 0; print(db.committed_before().isoformat())"
    with psycopg.connect(child_env["DATABASE_URL"]) as worker:
        (began,) = worker.execute("SELECT NOW()").fetchone() or ()
        assert run(roles_env, "shell", "-v0", "--command", ask).stdout.strip() == began.isoformat()

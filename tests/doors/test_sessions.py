"""Sessions: no value in the database is enough to log in, and an ended session is deleted."""

from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends import db
from django.contrib.sessions.models import Session
from django.core.management import call_command
from django.db import connection as database
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from accounts.sessions import SessionStore
from connectors import ownership
from tests.support.tables import values
from worker import tasks

pytestmark = [pytest.mark.django_db, pytest.mark.ledger]

COOKIE = settings.SESSION_COOKIE_NAME


def sign_in(client: Client) -> str:
    """Sign in as root by the form; return the cookie."""
    login = {"username": "root", "password": "secret"}
    assert client.post(reverse("admin:login"), login).status_code == 302
    return client.cookies[COOKIE].value


def is_signed_in(cookie: str) -> bool:
    client = Client()
    client.cookies[COOKIE] = cookie
    return client.get(reverse("admin:index")).status_code == 200


def test_nothing_in_the_database_is_a_login(superuser: User) -> None:
    cookie = sign_in(Client())
    assert is_signed_in(cookie)
    stored = list(values())
    assert any(table == "django_session" for table, _ in stored)
    for table, value in stored:
        assert cookie.encode() not in value, table
        text = value.decode(errors="replace")
        assert len(text) > 4000 or not is_signed_in(text), table


def test_a_row_made_with_the_cookie_as_its_key_is_no_login(superuser: User) -> None:
    """As Django's own store makes them, and so did this service once."""
    sign_in(Client())
    row = Session.objects.get()
    row.session_key = "k" * 32
    row.save(force_insert=True)
    assert db.SessionStore(row.session_key)[SESSION_KEY] == str(superuser.pk), "it was one once"
    assert not is_signed_in(row.session_key)


def test_signing_in_and_out_leaves_no_row(superuser: User) -> None:
    client = Client()
    old = client.session
    old["seen"] = True
    old.save()
    client.cookies[COOKIE] = old.session_key
    cookie = sign_in(client)
    assert cookie != old.session_key
    assert Session.objects.count() == 1, "the anonymous session went on under a new key"
    assert SessionStore(cookie)["seen"]
    client.post(reverse("admin:logout"))
    assert not Session.objects.exists()
    assert not is_signed_in(cookie)


def test_a_client_cannot_choose_its_key(superuser: User) -> None:
    client = Client()
    client.cookies[COOKIE] = "chosen-by-the-client-0123456789a"
    assert sign_in(client) != "chosen-by-the-client-0123456789a"


@pytest.mark.parametrize("cookie", ["", "short", "\x00" * 32, "ü" * 32, "x" * 5000])
def test_a_cookie_that_is_none_is_refused(superuser: User, cookie: str) -> None:
    assert not is_signed_in(cookie)


@pytest.mark.parametrize("change", ["password", "is_active"])
def test_who_is_shut_out_or_has_a_new_password_is_signed_out(superuser: User, change: str) -> None:
    cookie = sign_in(Client())
    if change == "password":
        superuser.set_password("another")
    else:
        superuser.is_active = False
    superuser.save()
    assert not is_signed_in(cookie)


# The store, as Django uses it.
def test_a_session_is_kept_renamed_and_deleted() -> None:
    session = SessionStore()
    session["a"] = 1
    session.save()
    key = session.session_key
    assert key and session.exists(key) and SessionStore(key)["a"] == 1
    session.cycle_key()
    assert session.session_key and not session.exists(key)
    key = session.session_key
    session["a"] = 2
    session.save()
    assert SessionStore(key)["a"] == 2
    SessionStore().delete(key)
    with pytest.raises(db.UpdateError):
        session.save()
    session.flush()
    assert not Session.objects.exists()


def test_asynchronously_too() -> None:
    async def live() -> None:
        session = SessionStore()
        await session.aset("a", 1)
        await session.asave()
        key = session.session_key
        assert key and await session.aexists(key) and await SessionStore(key).aget("a") == 1
        await session.acycle_key()
        assert session.session_key and not await session.aexists(key)
        assert await SessionStore(key).aget("a") is None
        assert await SessionStore(session.session_key).aget("a") == 1
        assert not await Session.objects.filter(session_key=session.session_key).aexists()
        await session.aflush()
        assert not await Session.objects.aexists()
        await SessionStore.aclear_expired()

    async_to_sync(live)()


def test_one_that_has_ended_is_not_read() -> None:
    session = SessionStore()
    session["a"] = 1
    session.save()
    key = session.session_key
    assert SessionStore(key).load() == async_to_sync(SessionStore(key).aload)() == {"a": 1}
    Session.objects.update(expire_date=timezone.now() - timedelta(seconds=1))
    assert SessionStore(key).load() == async_to_sync(SessionStore(key).aload)() == {}


# What has ended goes.
@pytest.mark.parametrize(
    "delete", [tasks.tidy, lambda: call_command("clearsessions")], ids=["worker", "clearsessions"]
)
def test_sessions_that_have_ended_are_deleted_some_at_a_time(delete: Any) -> None:
    now = timezone.now()
    Session.objects.bulk_create(
        Session(session_key=f"{number}", expire_date=now + timedelta(hours=1 if number < 3 else -1))
        for number in range(2503)
    )
    with CaptureQueriesContext(database) as queries:
        delete()
    deletes = [q for q in queries if q["sql"].startswith('DELETE FROM "django_session"')]
    assert len(deletes) == 3
    assert set(Session.objects.values_list("session_key", flat=True)) == {"0", "1", "2"}


def test_a_claimed_database_has_no_sessions(superuser: User) -> None:
    """A backup has sessions that ended after it was made."""
    cookie = sign_in(Client())
    ownership.claim()
    assert not is_signed_in(cookie)
    assert not Session.objects.exists()

"""Rate limits hold for concurrent requests, apply only to the right client, and expire."""

import threading
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.db import connection as database
from django.db import transaction
from django.db.models import F
from django.http import HttpResponse
from django.test import Client, RequestFactory
from rest_framework.test import APIClient

from accounts import throttling
from accounts.checks import check_limits
from accounts.models import ApiToken, Org, RateWindow, User
from accounts.tokens import create_token
from exports import connection_tests
from kernel.errors import RuleViolation
from tests.support.builders import a_connection, a_user
from worker import tasks

pytestmark = [pytest.mark.django_db, pytest.mark.ledger]

ORDERS = "/api/v1/draft-orders"
LOGIN = "/admin/login/"
HERE, ELSEWHERE = "192.0.2.1", "198.51.100.7"


@pytest.fixture
def ann_as_superuser(org: Org) -> User:
    user = a_user(org)
    User.objects.filter(id=user.id).update(is_staff=True, is_superuser=True)
    return user


@pytest.fixture(autouse=True)
def _low_limits(settings: Any) -> None:
    settings.API_REQUESTS_PER_MINUTE = 10
    settings.WRONG_TOKENS_PER_MINUTE = 3
    settings.FAILED_LOGINS_PER_USER = 3
    settings.FAILED_LOGINS_PER_ADDRESS = 5


def api(token: str, address: str = HERE) -> APIClient:
    return APIClient(headers={"Authorization": f"Bearer {token}"}, REMOTE_ADDR=address)


def new_token(user: User) -> str:
    return create_token(user, org=user.orgs.get(), name="test")[1]


def log_in(
    name: str = "ann", password: str = "wrong", address: str = HERE, **headers: str
) -> HttpResponse:
    return Client(REMOTE_ADDR=address, headers=headers).post(
        LOGIN, {"username": name, "password": password}
    )


def end_windows() -> None:
    RateWindow.objects.update(ends_at=F("ends_at") - 3600)


def at_once(number: int, call: Any) -> list[Any]:
    """What that many threads got that called together."""
    results = []
    barrier = threading.Barrier(number)

    def run() -> None:
        try:
            database.ensure_connection()
            barrier.wait()
            results.append(call())
        finally:
            database.close()

    threads = [threading.Thread(target=run) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == number
    return results


# Counting.
def test_counts_within_the_limit_pass() -> None:
    waits = [throttling.count("walks", "ann", limit=2, seconds=60) for _ in range(4)]
    assert waits[:2] == [0, 0]
    assert all(55 <= wait <= 60 for wait in waits[2:])


def test_counts_of_others_and_of_other_things_are_apart() -> None:
    for what, *who in (("walks", "ann"), ("walks", "bob"), ("talks", "ann"), ("walks", "a", "nn")):
        assert throttling.count(what, *who, limit=1, seconds=60) == 0


def test_a_window_that_has_ended_opens_anew() -> None:
    for _ in range(3):
        throttling.count("walks", "ann", limit=1, seconds=60)
    end_windows()
    assert throttling.count("walks", "ann", limit=1, seconds=60) == 0
    assert throttling.count("walks", "ann", limit=1, seconds=60) > 0


@pytest.mark.django_db(transaction=True)
def test_simultaneous_counts_do_not_slip_through() -> None:
    waits = at_once(50, lambda: throttling.count("walks", "ann", limit=10, seconds=60))
    assert waits.count(0) == 10
    assert RateWindow.objects.get().count == 50


@pytest.mark.django_db(transaction=True)
def test_counting_does_not_wait_for_the_disk() -> None:
    if database.vendor != "postgresql":
        pytest.skip("SQLite syncs every commit")

    def is_unflushed() -> bool:
        throttling.count("walks", "ann", limit=10, seconds=60)
        with database.cursor() as cursor:
            cursor.execute("SELECT pg_current_wal_insert_lsn() > pg_current_wal_flush_lsn()")
            return bool(cursor.fetchone()[0])

    assert sum(is_unflushed() for _ in range(20)) > 10
    assert _synchronous_commit() == "on"
    with transaction.atomic():
        throttling.count("walks", "ann", limit=10, seconds=60)
        assert _synchronous_commit() == "on", "what else the transaction does must last"


def _synchronous_commit() -> str:
    with database.cursor() as cursor:
        cursor.execute("SHOW synchronous_commit")
        return str(cursor.fetchone()[0])


def test_ended_windows_are_deleted_each_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttling, "_PRUNED_AT_ONCE", 2)
    for name in ("ann", "bob", "eve"):
        throttling.count("walks", name, limit=1, seconds=60)
    end_windows()
    throttling.count("walks", "eve", limit=1, seconds=60)
    throttling.count("walks", "sam", limit=1, seconds=60)
    tasks.tidy()
    assert RateWindow.objects.count() == 2
    assert throttling.prune() == 0


# The API.
def test_a_token_that_asks_too_often_has_to_wait(ann_as_superuser: User) -> None:
    token, other = new_token(ann_as_superuser), new_token(ann_as_superuser)
    answers = [api(token).get(ORDERS) for _ in range(11)]
    assert {answer.status_code for answer in answers[:10]} == {200}
    refused = answers[10]
    assert refused.status_code == 429
    assert 0 < int(refused["Retry-After"]) <= 60
    assert refused["Content-Type"] == "application/problem+json"
    assert refused.json()["code"] == "throttled"
    assert api(token, ELSEWHERE).get(ORDERS).status_code == 429, "the token counts, wherever it is"
    assert api(other).get(ORDERS).status_code == 200
    end_windows()
    assert api(token).get(ORDERS).status_code == 200


def test_forbidden_requests_count_too(org: Org) -> None:
    token = new_token(a_user(org, "bob"))
    answers = [api(token).get(ORDERS).status_code for _ in range(11)]
    assert answers == [403] * 10 + [429]


def test_without_a_limit_nothing_is_counted(ann_as_superuser: User, settings: Any) -> None:
    settings.API_REQUESTS_PER_MINUTE = 0
    assert api(new_token(ann_as_superuser)).get(ORDERS).status_code == 200
    assert not RateWindow.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_simultaneous_requests_do_not_slip_through(ann_as_superuser: User) -> None:
    token = new_token(ann_as_superuser)
    answers = at_once(50, lambda: api(token).get(ORDERS).status_code)
    assert answers.count(200) == 10
    assert answers.count(429) == 40


def test_wrong_tokens_are_limited_by_address_and_right_ones_work(ann_as_superuser: User) -> None:
    answers = [api("oft_wrong").get(ORDERS) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [401, 401, 401, 429]
    assert 0 < int(answers[3]["Retry-After"]) <= 60
    assert api("oft_wrong", ELSEWHERE).get(ORDERS).status_code == 401
    token = new_token(ann_as_superuser)
    assert api(token).get(ORDERS).status_code == 200
    ApiToken.objects.update(revoked_at=F("created_at"))
    assert api(token).get(ORDERS).status_code == 429


# The login.
def test_failed_logins_hold_up_the_user_name_at_that_address(ann_as_superuser: User) -> None:
    for _ in range(3):
        assert log_in().status_code == 200
    refused = log_in(password="secret")
    assert refused.status_code == 429
    assert 0 < int(refused["Retry-After"]) <= 900
    assert "Try again in 15 min" in refused.content.decode()
    assert not refused.wsgi_request.user.is_authenticated
    assert log_in(password="secret", address=ELSEWHERE).status_code == 302
    end_windows()
    assert log_in(password="secret").status_code == 302


def test_an_unknown_user_name_is_answered_like_a_known_one(ann_as_superuser: User) -> None:
    def answers(name: str) -> list[tuple[int, str]]:
        got = [log_in(name, address=ELSEWHERE) for _ in range(4)]
        RateWindow.objects.all().delete()
        return [
            (answer.status_code, "".join(_lines_without_token(answer)).replace(name, "NAME"))
            for answer in got
        ]

    assert answers("ann") == answers("nobody")


def _lines_without_token(answer: HttpResponse) -> Iterator[str]:
    return (line for line in answer.content.decode().splitlines() if "csrfmiddleware" not in line)


def test_a_login_takes_back_the_failures_of_its_user_name(
    ann_as_superuser: User, settings: Any
) -> None:
    settings.FAILED_LOGINS_PER_ADDRESS = 100
    for _ in range(3):
        assert [log_in().status_code for _ in range(2)] == [200, 200]
        assert log_in(password="secret").status_code == 302


def test_logins_do_not_use_up_what_the_address_has(ann_as_superuser: User) -> None:
    for number in range(4):
        log_in(f"user{number}")
    for _ in range(3):
        assert log_in(password="secret").status_code == 302
    assert [log_in(f"another{number}").status_code for number in range(2)] == [200, 429]


def test_many_user_names_hold_up_the_address(ann_as_superuser: User) -> None:
    for number in range(5):
        assert log_in(f"user{number}").status_code == 200
    assert log_in("another").status_code == 429
    assert log_in(password="secret").status_code == 429
    assert log_in(password="secret", address=ELSEWHERE).status_code == 302


def test_one_stubborn_user_name_does_not_hold_up_the_address(ann_as_superuser: User) -> None:
    for _ in range(20):
        log_in("stubborn")
    assert log_in(password="secret").status_code == 302


def test_an_empty_password_is_no_login(ann_as_superuser: User) -> None:
    for _ in range(3):
        log_in()
    assert log_in(password="").status_code == 200
    assert log_in(password="secret").status_code == 429


@pytest.mark.django_db(transaction=True)
def test_simultaneous_guesses_do_not_slip_through(ann_as_superuser: User, settings: Any) -> None:
    settings.FAILED_LOGINS_PER_ADDRESS = 100
    answers = at_once(20, lambda: log_in().status_code)
    assert answers.count(200) == 3
    assert answers.count(429) == 17


def test_a_login_forged_by_another_site_does_not_count(ann_as_superuser: User) -> None:
    forging = Client(enforce_csrf_checks=True, REMOTE_ADDR=HERE)
    answer = forging.post(LOGIN, {"username": "ann", "password": "wrong"})
    assert answer.status_code == HTTPStatus.FORBIDDEN
    assert not RateWindow.objects.exists()


# The address.
@pytest.mark.parametrize(
    ("proxies", "forwarded", "address"),
    [
        (0, "", HERE),
        (0, ELSEWHERE, HERE),
        (1, "", HERE),
        (1, ELSEWHERE, ELSEWHERE),
        (1, f"10.9.8.7, {ELSEWHERE}", ELSEWHERE),
        (2, f"10.9.8.7, {ELSEWHERE}, 10.0.0.2", ELSEWHERE),
        (2, "10.0.0.2", HERE),
        (1, "anything", HERE),
        (1, "::ffff:198.51.100.7", ELSEWHERE),
        (1, "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
    ],
)
def test_only_proxies_are_believed(
    settings: Any, proxies: int, forwarded: str, address: str
) -> None:
    settings.TRUSTED_PROXIES = proxies
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    request = RequestFactory(headers=headers, REMOTE_ADDR=HERE).get("/")
    assert throttling.client_address(request) == address


def test_a_forged_header_gains_no_guesses(ann_as_superuser: User, settings: Any) -> None:
    for proxies, heard in ((0, "10.0.0.{}"), (1, "10.0.0.{}, 203.0.113.5")):
        settings.TRUSTED_PROXIES = proxies
        answers = [
            log_in(**{"X-Forwarded-For": heard.format(number)}).status_code for number in range(4)
        ]
        assert answers == [200, 200, 200, 429]


# Connection tests.
def test_connection_tests_are_limited_by_user(
    org: Org, ann_as_superuser: User, dropzone_root: Path, client: Client
) -> None:
    config = {"mode": "filesystem", "export_path": str(dropzone_root)}
    erp = a_connection(org, config, paused=True)
    for _ in range(10):
        connection_tests.request_test(erp, actor=ann_as_superuser)
    with pytest.raises(RuleViolation) as refusal:
        connection_tests.request_test(erp, actor=ann_as_superuser)
    assert refusal.value.code == "TOO_MANY_TESTS"
    assert 0 < refusal.value.extra["retry_after"] <= 60
    connection_tests.request_test(erp, actor=a_user(org, "bob"))
    client.force_login(User.objects.get(id=ann_as_superuser.id))
    page = client.post(f"/admin/connectors/erpconnection/{erp.id}/test/", follow=True)
    assert "too many connection tests" in page.content.decode()
    answer = api(new_token(ann_as_superuser)).post(f"/api/v1/erp-connections/{erp.id}/test")
    assert answer.status_code == 429
    assert 0 < int(answer["Retry-After"]) == answer.json()["retry_after"] <= 60


# Settings.
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("API_REQUESTS_PER_MINUTE", -1),
        ("WRONG_TOKENS_PER_MINUTE", 0),
        ("FAILED_LOGINS_PER_USER", 0),
        ("FAILED_LOGINS_PER_ADDRESS", 2),
        ("TRUSTED_PROXIES", -1),
    ],
)
def test_a_wrong_limit_is_found_at_start(settings: Any, name: str, value: int) -> None:
    setattr(settings, name, value)
    with pytest.raises(SystemCheckError, match=name):
        call_command("check")


def test_a_proxy_that_makes_all_clients_one_is_warned_of(settings: Any) -> None:
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    assert [found.id for found in check_limits()] == ["accounts.W001"]
    settings.TRUSTED_PROXIES = 1
    assert check_limits() == []

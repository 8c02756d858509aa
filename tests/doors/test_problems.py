"""Every error below /api/ is a problem document with a request id, without HTML or a traceback."""

import json
import logging
from io import StringIO
from typing import Any

import pytest
from django.db import OperationalError
from django.test import Client
from rest_framework.test import APIClient

from orders.models import DraftOrder
from tests.support.api import ORDER, ORDERS, create, post, refusal, send

pytestmark = pytest.mark.django_db


def test_an_answer_carries_the_id_of_its_request(owner: APIClient) -> None:
    first, second = owner.get(ORDERS), owner.get(f"{ORDERS}/x")
    assert first["X-Request-ID"] != second["X-Request-ID"] == second.json()["request_id"]
    assert owner.get(ORDERS, headers={"X-Request-ID": "shop-1234.5"})["X-Request-ID"] == (
        "shop-1234.5"
    )
    forged = "a\r\nSet-Cookie: x"
    assert owner.get(ORDERS, headers={"X-Request-ID": forged})["X-Request-ID"].isalnum()


def test_a_defect_of_ours_is_noted_and_not_shown(
    owner: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(**_: Any) -> None:
        raise RuntimeError("the secret is 4711")

    monkeypatch.setattr(DraftOrder.objects, "filter", broken)
    log = StringIO()
    [handler] = [h for h in logging.getLogger().handlers if h.name == "stderr"]
    monkeypatch.setattr(handler, "stream", log)
    owner.raise_request_exception = False
    response = owner.get(ORDERS)
    problem = refusal(response, 500, "error")
    assert "4711" not in response.content.decode()
    [line] = [line for line in log.getvalue().splitlines() if " ERROR " in line]
    assert "4711" in log.getvalue()
    assert problem["request_id"] == response["X-Request-ID"] in line


def test_a_database_that_is_away_is_worth_another_try(
    owner: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(**_: Any) -> None:
        raise OperationalError("connection to host 10.0.0.7 refused")

    monkeypatch.setattr(DraftOrder.objects, "filter", away)
    response = owner.get(ORDERS)
    refusal(response, 503, "unavailable")
    assert "10.0.0.7" not in response.content.decode()
    assert response["Retry-After"] == "5"


def test_a_wrong_host_is_a_problem_too() -> None:
    response = Client(headers={"Host": "evil.example"}).get(ORDERS)
    refusal(response, 400, "bad_request")
    assert "evil" not in response.content.decode()


def test_what_cannot_be_read_or_written_is_refused(owner: APIClient) -> None:
    body = json.dumps(ORDER)
    refusal(
        owner.generic("POST", ORDERS, body, content_type="text/csv"), 415, "unsupported_media_type"
    )
    refusal(owner.get(ORDERS, headers={"Accept": "text/html"}), 406, "not_acceptable")
    refusal(post(owner, ORDERS, "{"), 400, "parse_error")
    refusal(post(owner, ORDERS, '{"a": 1, "a": 2}'), 400, "parse_error")
    refusal(post(owner, ORDERS, "[" * 100_000), 400, "parse_error")
    refusal(post(owner, ORDERS, ORDER | {"notes": "\ud83d"}), 400, "parse_error")
    refusal(post(owner, ORDERS, {"\udc00": 1}), 400, "parse_error")
    assert post(owner, ORDERS, ORDER | {"notes": "\U0001f600"}).status_code == 201
    by_number = {"action": "push", "filter": {"external_order_number": "\ud800"}}
    refusal(post(owner, "/api/v1/batches", by_number), 400, "parse_error")
    refusal(post(owner, ORDERS, '"' + "x" * 2**24 + '"'), 413, "too_large")


@pytest.mark.parametrize("method", ["DELETE", "OPTIONS", "TRACE", "PATCH", "BREW"])
def test_a_method_that_is_not_offered_names_those_that_are(owner: APIClient, method: str) -> None:
    response = send(owner, method, ORDERS, {})
    refusal(response, 405, "method_not_allowed")
    assert set(response["Allow"].split(", ")) == {"GET", "HEAD", "POST"}


@pytest.mark.parametrize("path", ["/api/schema", "/api/docs"])
def test_the_description_can_only_be_read(path: str) -> None:
    refusal(Client().options(path), 405, "method_not_allowed")
    refusal(Client(enforce_csrf_checks=True).post(path), 403, "permission_denied")


def test_a_parameter_does_not_say_in_which_form_to_answer(owner: APIClient) -> None:
    assert owner.get(f"{ORDERS}/{create(owner)['id']}?format=xml").status_code == 200


def test_answers_of_the_api_are_not_kept_by_caches(owner: APIClient) -> None:
    for response in (owner.get(ORDERS), owner.get(f"{ORDERS}/x"), Client().get("/api")):
        assert response["Cache-Control"] == "no-store"


def test_every_page_forbids_scripts_from_elsewhere(client: Client) -> None:
    policy = client.get("/admin/login/")["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy


def test_a_page_that_is_missing_outside_the_api_is_a_page(client: Client) -> None:
    response = client.get("/apis")
    assert (response.status_code, response["Content-Type"]) == (404, "text/html; charset=utf-8")

"""Expensive JSON is rejected fast, in limited memory, with a short response."""

import json
import time
from collections.abc import Iterator
from itertools import chain

import pytest
from rest_framework.test import APIClient

from kernel.limits import (
    MAX_BODY_BYTES,
    MAX_ERRORS,
    MAX_JSON_DEPTH,
    MAX_JSON_MEMBERS,
    MAX_JSON_VALUES,
    MAX_LINES,
)
from tests.support.api import LINE, ORDER, ORDERS, error_at, post, refusal
from tests.support.builders import an_org
from tests.support.web_server import WebServer, a_token


def array(element: str, count: int) -> str:
    return f"[{','.join([element] * count)}]"


def keys(count: int) -> str:
    return obj(*(f'"k{n}":0' for n in range(count)))


def text(content: str) -> str:
    return f'"{content}"'


def obj(*members: str) -> str:
    return f"{{{','.join(members)}}}"


def member(name: str, value: str) -> str:
    return obj(f'"{name}":{value}')


def bombs() -> Iterator[str]:
    """Bodies that no client of the API has to send; made one by one, because they are large."""
    yield keys(1_000_000)
    yield member("lines", f"[{keys(1_000_000)}]")
    yield member("lines", array("{}", 1_000_000))
    yield member("lines", array("{}", MAX_LINES))
    yield member("lines", array(keys(6), MAX_LINES))
    yield member("notes", array("0", 1_000_000))
    yield array(array("0", 1_000), 1_000)
    yield "[" * 8_000_000
    yield '{"a":' * 2_000_000
    yield member("lines", '[{"line_no":' + "9" * 5_000 + "}]")
    yield "9" * (MAX_BODY_BYTES - 1)
    yield member("notes", "0." + "9" * (MAX_BODY_BYTES - 20))
    yield member("notes", text("x" * (MAX_BODY_BYTES - 20)))
    yield member("notes", text("x" * (MAX_BODY_BYTES - 20) + "😀"))
    yield member("x" * (MAX_BODY_BYTES - 20), "0")
    yield member("notes", text("\\n" * (MAX_BODY_BYTES // 2 - 20)))
    yield '"' * MAX_BODY_BYTES
    yield " " * MAX_BODY_BYTES
    yield "," * MAX_BODY_BYTES


def test_bombs_are_refused_soon_and_leave_no_memory_behind(web_server: WebServer) -> None:
    org = an_org()
    headers = {"Authorization": f"Bearer {a_token(org)}", "Content_Type": "application/json"}
    status, _, answer = web_server.ask("POST", ORDERS, json.dumps(ORDER), **headers)
    assert status == 201
    path = answer["Location"]
    batches = "/api/v1/batches"
    named = obj('"action":"push"', f'"orders":{array(text("x"), MAX_LINES)}')
    found = obj('"action":"push"', f'"filter":{keys(100_000)}')
    attacks = [
        ("PATCH", path, keys(1_000_000)),
        ("POST", f"{path}/approve", keys(1_000_000)),
        ("POST", batches, named),
        ("POST", batches, found),
        ("POST", batches, member("action", text("x" * 2**23))),
    ]
    before = web_server.worker.memory_info().rss
    for method, target, bomb in chain((("POST", ORDERS, bomb) for bomb in bombs()), attacks):
        began = time.monotonic()
        status, body, _ = web_server.ask(method, target, bomb.encode(), **headers)
        print(
            "TIME",
            round(time.monotonic() - began, 2),
            web_server.worker.memory_info().rss >> 20,
            status,
            bomb[:30],
        )
        # Within a second on a machine that does nothing else.
        assert time.monotonic() - began < 5, bomb[:40]
        assert status in (400, 413), (bomb[:40], body[:200])
        assert len(body) < 200_000
        problem = json.loads(body)
        assert len(problem.get("errors", [])) <= MAX_ERRORS
    # The allocator may keep what one body took, whose text has up to four bytes a character.
    assert web_server.worker.memory_info().rss - before < 200 * 2**20
    assert web_server.ask("PATCH", path, '{"notes":"x"}', **headers)[0] == 200


@pytest.mark.django_db
def test_the_first_hundred_errors_are_listed(owner: APIClient) -> None:
    problem = refusal(post(owner, ORDERS, {"lines": [{}] * 300}), 400, "invalid")
    assert len(problem["errors"]) == MAX_ERRORS
    assert "They are the first 100; there may be more." in problem["detail"]
    problem = refusal(post(owner, ORDERS, {"lines": [{}] * 2}), 400, "invalid")
    assert len(problem["errors"]) < MAX_ERRORS
    assert "there may be more" not in problem["detail"]
    last = {"lines": [*(LINE | {"line_no": n} for n in range(1, 300)), {"line_no": 300}]}
    assert error_at(post(owner, ORDERS, last)).keys() == {"/lines/299/qty"}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("largest", "status"),
    [
        (json.dumps({f"k{n}": 0 for n in range(MAX_JSON_MEMBERS)}), 400),
        (json.dumps({f"k{n}": 0 for n in range(MAX_JSON_MEMBERS + 1)}), 413),
        (array("0", MAX_LINES), 400),
        (array("0", MAX_LINES + 1), 400),
        (array(array("0", 900), 100), 400),
        (array("0", MAX_JSON_VALUES), 413),
        # What looks like structure within texts counts for nothing.
        (array(text(r"\",[{" * MAX_JSON_VALUES), 1), 400),
    ],
)
def test_the_limits_of_json(owner: APIClient, largest: str, status: int) -> None:
    code = "invalid" if status == 400 else "too_large"
    refusal(post(owner, ORDERS, largest), status, code)


@pytest.mark.django_db
def test_the_depth_of_json_is_limited(owner: APIClient) -> None:
    def nested(depth: int) -> str:
        return "[" * depth + "]" * depth

    refusal(post(owner, ORDERS, nested(MAX_JSON_DEPTH)), 400, "invalid")
    refusal(post(owner, ORDERS, nested(MAX_JSON_DEPTH + 1)), 400, "parse_error")


@pytest.mark.django_db
def test_the_largest_order_is_taken(owner: APIClient) -> None:
    line = {
        "internal_sku": "S" * 100,
        "customer_sku_raw": "C" * 200,
        "qty": "123456789.123456",
        "uom": "U" * 20,
        "unit_price": "123456789.123456",
        "currency": "EUR",
        "description": "D" * 1000,
    }
    lines = [line | {"line_no": 2**31 - 1 - n} for n in range(MAX_LINES)]
    order = ORDER | {"lines": lines, "notes": "N" * 10_000}
    response = post(owner, ORDERS, order)
    assert response.status_code == 201, response.content[:500]
    assert len(response.json()["lines"]) == MAX_LINES

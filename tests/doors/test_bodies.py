"""Bodies of requests as clients send them: in chunks, broken off, too large, empty."""

import json
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.test import Client
from rest_framework.test import APIClient

from orders.models import DraftOrder
from tests.support.admins import a_member, page_url
from tests.support.api import ORDER, ORDERS, create_approved, refusal, send
from tests.support.builders import an_approved_order, an_org
from tests.support.order_forms import order_data
from tests.support.servers.process import HOST
from tests.support.web_server import WebServer, a_token

Status = DraftOrder.Status
FORM = "application/x-www-form-urlencoded"


def in_chunks(document: Any) -> list[bytes]:
    text = json.dumps(document).encode()
    return [text[at : at + 7] for at in range(0, len(text), 7)]


# In chunks, as .NET clients and tunnels send.
def test_the_api_reads_a_body_in_chunks_like_any_other(web_server: WebServer) -> None:
    org = an_org()
    headers = {"Authorization": f"Bearer {a_token(org)}", "Content_Type": "application/json"}
    status, body, answer = web_server.ask("POST", ORDERS, in_chunks(ORDER), **headers)
    assert status == 201, body
    path = answer["Location"]
    assert web_server.ask("POST", f"{path}/approve", in_chunks({}), **headers)[0] == 200

    # What is lost on the way must not look like a change that was made.
    for nothing in ([], None):
        status, body, _ = web_server.ask("PATCH", path, nothing, **headers)
        assert (status, json.loads(body)["code"]) == (400, "parse_error")
    assert DraftOrder.objects.get().status == Status.APPROVED

    status, body, _ = web_server.ask("PATCH", path, in_chunks({"notes": "Ring twice"}), **headers)
    assert (status, json.loads(body)["notes"]) == (200, "Ring twice")
    order = DraftOrder.objects.get()
    assert (order.notes, order.status, order.approved_by) == ("Ring twice", Status.READY, None)

    megabytes: Iterable[bytes] = [b" " * 2**20] * 17
    for too_large in (megabytes, b" " * 17 * 2**20):
        status, body, _ = web_server.ask("PATCH", path, too_large, **headers)
        assert (status, json.loads(body)["code"]) == (413, "too_large")

    def head(**more: str) -> bytes:
        lines = "".join(f"{n.replace('_', '-')}: {v}\r\n" for n, v in (headers | more).items())
        return f"PATCH {path} HTTP/1.1\r\nHost: {HOST}\r\n{lines}\r\n".encode()

    wrong = [
        head(Transfer_Encoding="chunked") + b"zz\r\n{}\r\n0\r\n\r\n",
        head(Transfer_Encoding="chunked") + b'd\r\n{"notes":"x"}XX0\r\n\r\n',
        head(Transfer_Encoding="chunked") + b'd\r\n{"notes":"x"}\r\n',
        head(Transfer_Encoding="gzip, chunked") + b"0\r\n\r\n",
        # Where a proxy and the server disagree about the end, a second request could hide.
        head(Transfer_Encoding="chunked", Content_Length="4") + b'd\r\n{"notes":"x"}\r\n0\r\n\r\n',
        head(Content_Length="100") + b'{"notes":"x"}',
    ]
    for request in wrong:
        answered = web_server.raw(request)
        assert re.match(rb"HTTP/1.1 (400|501) ", answered), (request, answered)
        assert answered.count(b"HTTP/1.1") == 1
    order.refresh_from_db()
    assert order.notes == "Ring twice"

    asked = head(Transfer_Encoding="chunked", Expect="100-continue", Connection="close")
    answered = web_server.raw(asked, b'd\r\n{"notes":"y"}\r\n0\r\n\r\n')
    assert answered.startswith(b"HTTP/1.1 100 ")
    assert b"HTTP/1.1 200 " in answered
    order.refresh_from_db()
    assert order.notes == "y"


def test_the_admin_reads_a_form_in_chunks_like_any_other(web_server: WebServer) -> None:
    org = an_org()
    approver = a_member(org, "ann", "Approver")
    # The server has not the quick hasher of the tests.
    approver.password = PBKDF2PasswordHasher().encode("s3cret", "salt", 10)
    approver.save()
    order = an_approved_order(org, approver)
    form, other = order_data(order, notes="in chunks"), order_data(order, notes="in parts")

    login, url = page_url("login"), page_url("orders_draftorder_change", order.id)
    _, page, answer = web_server.ask("GET", login, None)
    token = re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', page)[0]
    cookie = f"csrftoken={answer['Set-Cookie'].partition('=')[2].partition(';')[0]}"
    who = {"username": "ann", "password": "s3cret", "csrfmiddlewaretoken": token}
    sent = [urlencode(who).encode()]
    status, _, answer = web_server.ask("POST", login, sent, Cookie=cookie, Content_Type=FORM)
    assert status == 302
    cookies = re.findall(r"(csrftoken|sessionid)=(\w+)", str(answer))
    cookie = "; ".join(f"{name}={value}" for name, value in cookies)
    token = dict(cookies)["csrftoken"]

    fields = urlencode(form | {"csrfmiddlewaretoken": token}).encode()
    halves = [fields[:100], fields[100:]]
    assert web_server.ask("POST", url, halves, Cookie=cookie, Content_Type=FORM)[0] == 302
    order.refresh_from_db()
    assert (order.notes, order.status) == ("in chunks", Status.READY)

    parts = "".join(
        f'--limit\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in (other | {"csrfmiddlewaretoken": token}).items()
    )
    multipart = "multipart/form-data; boundary=limit"
    sent = [parts.encode(), b"--limit--\r\n"]
    assert web_server.ask("POST", url, sent, Cookie=cookie, Content_Type=multipart)[0] == 302
    order.refresh_from_db()
    assert order.notes == "in parts"

    status, page, _ = web_server.ask(
        "POST", url, [b"x" * 2**20] * 17, Cookie=cookie, Content_Type=FORM
    )
    assert status == 413
    assert "The body is larger than 16 MiB. Send less at once. Nothing was changed." in page


@pytest.mark.django_db
def test_a_server_that_does_not_decode_chunks_says_so(owner: APIClient) -> None:
    path = create_approved(owner)
    environ: dict[str, Any] = {"HTTP_TRANSFER_ENCODING": "chunked", "CONTENT_LENGTH": ""}
    refusal(owner.patch(path, {"notes": "x"}, **environ), 411, "length_required")
    page = Client().post(page_url("login"), {}, **environ)
    assert page.status_code == 411
    assert "Send it with a Content-Length." in page.content.decode()


@pytest.mark.django_db
def test_an_empty_body_is_no_document(owner: APIClient) -> None:
    path = create_approved(owner)
    for method in ("PATCH", "PUT"):
        refusal(send(owner, method, path, ""), 400, "parse_error")
    refusal(send(owner, "POST", ORDERS, ""), 400, "parse_error")
    refusal(send(owner, "POST", "/api/v1/batches", ""), 400, "parse_error")
    assert owner.get(path).json()["status"] == "APPROVED"


@pytest.mark.django_db
def test_a_body_without_its_type_is_not_dropped(owner: APIClient) -> None:
    path = create_approved(owner)
    response = owner.generic("PATCH", path, '{"notes": "x"}', content_type="")
    refusal(response, 415, "unsupported_media_type")
    form = owner.generic("PATCH", path, "notes=x", content_type=FORM)
    refusal(form, 415, "unsupported_media_type")
    gzip = {"Content-Encoding": "gzip"}
    refusal(send(owner, "PATCH", path, "{}", **gzip), 415, "unsupported_media_type")
    assert owner.get(path).json()["status"] == "APPROVED"

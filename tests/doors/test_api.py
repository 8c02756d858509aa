"""The REST API through real requests with real tokens."""

import json
import re
from datetime import timedelta
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import Org
from accounts.tokens import create_token, revoke_token
from connectors.models import ErpConnection
from exports.models import ErpExport
from orders.models import Customer, DraftOrder, DraftOrderLine, SourceDocument
from tests.support.api import (
    DOCUMENT,
    EXPORTS,
    LINE,
    ORDER,
    ORDERS,
    bearer,
    create,
    create_approved,
    create_failed,
    error_at,
    person,
    post,
    refusal,
    wrong_parameters,
)

pytestmark = pytest.mark.django_db

PEPPOL = sorted((Path(__file__).parents[3] / "shared/data/peppol_orders").glob("*.json"))


# Creating.
@pytest.mark.skipif(not PEPPOL, reason="the sample orders are not here")
@pytest.mark.parametrize("path", PEPPOL, ids=lambda path: path.stem)
def test_a_real_order_comes_back_value_for_value(owner: APIClient, path: Path) -> None:
    sent = json.loads(path.read_text())
    response = post(owner, ORDERS, path.read_text())
    assert response.status_code == 201, response.content
    created = response.json()
    assert response["Location"] == f"{ORDERS}/{created['id']}"
    assert created == owner.get(response["Location"]).json()
    assert (created["status"], created["ready"], created["blocking_reasons"]) == ("READY", True, [])
    for name in ("customer", "source_document"):
        assert created[name].pop("id")
    for name in sent.keys() - {"lines"}:
        assert created[name] == sent[name]
    numbers = ("qty", "unit_price")
    for got, want in zip(created["lines"], sent["lines"], strict=True):
        assert [Decimal(got.pop(n)) for n in numbers] == [Decimal(want.pop(n)) for n in numbers]
        assert got == want


def test_absent_texts_are_empty_inside_and_null_outside(owner: APIClient) -> None:
    created = create(owner, notes=None)
    assert created["notes"] is None
    assert created["lines"][0]["description"] is None
    assert DraftOrder.objects.get().notes == DraftOrderLine.objects.get().description == ""


def test_customers_and_documents_are_found_again(owner: APIClient, stranger: APIClient) -> None:
    unnumbered = {"erp_customer_number": None, "name": "Neu AG"}
    first, second = (create(owner, source_document=DOCUMENT) for _ in range(2))
    assert first["customer"] == second["customer"]
    assert first["source_document"] == second["source_document"]
    third, fourth = (create(owner, customer=unnumbered) for _ in range(2))
    assert third["customer"] == fourth["customer"]
    assert (Customer.objects.count(), SourceDocument.objects.count()) == (2, 1)
    foreign = create(stranger, source_document=DOCUMENT)
    assert foreign["customer"]["id"] != first["customer"]["id"]
    assert foreign["source_document"]["id"] != first["source_document"]["id"]


def test_an_order_keeps_the_name_it_came_with(owner: APIClient) -> None:
    create(owner)
    other_name = {"erp_customer_number": "4711", "name": "Mustermann"}
    created = create(owner, customer=other_name, external_order_number="PO-2")
    assert created["customer"]["name"] == "Mustermann"
    assert Customer.objects.get().name == "Muster GmbH"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"lines": []}, "The order has no lines."),
        ({"lines": [LINE | {"qty": 0}]}, "Line 1: the quantity must be more than 0."),
        ({"customer": None}, "The order has no customer."),
    ],
)
def test_an_incomplete_order_needs_review(
    owner: APIClient, changes: dict[str, Any], reason: str
) -> None:
    created = create(owner, **changes)
    assert (created["status"], created["ready"]) == ("NEEDS_REVIEW", False)
    assert created["blocking_reasons"] == [reason]
    response = post(owner, f"{ORDERS}/{created['id']}/approve")
    assert refusal(response, 409, "NOT_READY")["detail"] == reason


@pytest.mark.parametrize(
    "number",
    ["0.1", "1e2", "999999999.999999", '"0.000001"', "12.50", "9007199.254741"],
)
def test_numbers_are_kept_exactly(owner: APIClient, number: str) -> None:
    body = json.dumps(ORDER).replace('"qty": "10"', f'"qty": {number}')
    assert number in body
    response = post(owner, ORDERS, body)
    assert response.status_code == 201, response.content
    shown = response.json()["lines"][0]["qty"]
    assert Decimal(shown) == Decimal(number.strip('"'))
    assert re.fullmatch(r"\d+(\.\d*[1-9])?", shown)


@pytest.mark.parametrize(
    "number",
    ["1.0000001", "1.0000000", "1000000000", "1e400", '"1e-400"', "true", '"NaN"', '""', "null"],
)
def test_numbers_that_do_not_fit_are_refused(owner: APIClient, number: str) -> None:
    body = json.dumps(ORDER).replace('"qty": "10"', f'"qty": {number}')
    assert list(error_at(post(owner, ORDERS, body))) == ["/lines/0/qty"]
    assert not DraftOrder.objects.exists()


def test_a_number_beyond_all_bounds_is_no_defect_of_ours(owner: APIClient) -> None:
    body = json.dumps(ORDER).replace('"qty": "10"', '"qty": 1e9999999999999999999')
    assert post(owner, ORDERS, body).status_code == 400


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        (ORDER | {"status": "APPROVED", "curency": "EUR"}, {"/status", "/curency"}),
        (ORDER | {"lines": [LINE, LINE | {"line_no": 2, "id": 7}]}, {"/lines/1/id"}),
        (ORDER | {"customer": {"name": "A", "id": "x"}}, {"/customer/id"}),
        (ORDER | {"lines": [LINE, LINE]}, {"/lines"}),
        (ORDER | {"lines": [LINE | {"line_no": 0}]}, {"/lines/0/line_no"}),
        (ORDER | {"lines": [LINE | {"line_no": 2**31}]}, {"/lines/0/line_no"}),
        (ORDER | {"lines": [LINE | {"line_no": n} for n in range(1, 10_002)]}, {"/lines"}),
        ({"currency": "EUR"}, {"/lines"}),
        (ORDER | {"notes": "a\0b"}, {"/notes"}),
        (ORDER | {"notes": " " + "x" * 10_000}, {"/notes"}),
        (ORDER | {"currency": "eur"}, {"/currency"}),
        (ORDER | {"customer": {"erp_customer_number": "1", "name": None}}, {"/customer/name"}),
        (ORDER | {"source_document": DOCUMENT | {"sha256": "A" * 64}}, {"/source_document/sha256"}),
        ([ORDER], {""}),
        ("null", {""}),
    ],
)
def test_a_wrong_body_is_refused_where_it_is_wrong(
    owner: APIClient, body: Any, pointers: set[str]
) -> None:
    assert error_at(post(owner, ORDERS, body)).keys() == pointers
    assert not DraftOrder.objects.exists()
    assert not Customer.objects.exists()


# Approving.
def test_approve(owner: APIClient) -> None:
    order = owner.get(create_approved(owner)).json()
    assert order["status"] == "APPROVED"
    assert order["approved_at"]
    assert order["approved_by"] == "olivia@acme.example"


def test_a_twin_must_be_confirmed(owner: APIClient) -> None:
    create(owner)
    twin = create(owner)
    path = f"{ORDERS}/{twin['id']}/approve"
    assert len(twin["warnings"]) == 1
    refusal(post(owner, path), 409, "NEEDS_CONFIRMATION")
    assert error_at(post(owner, path, {"confirm": True})).keys() == {"/confirm"}
    assert post(owner, path, {"confirm_warnings": True}).json()["status"] == "APPROVED"


# Pushing.
def test_push_answers_with_the_export(owner: APIClient, connection: ErpConnection) -> None:
    order = create_approved(owner)
    preview = owner.get(f"{order}/preview")
    response = post(owner, f"{order}/push")
    assert response.status_code == 202
    export = response.json()
    assert response["Location"] == f"{EXPORTS}/{export['id']}"
    assert export == owner.get(response["Location"]).json()
    assert export["status"] == "PENDING"
    assert export["requested_by"] == "olivia@acme.example"
    assert export["approved_by"] == "olivia@acme.example"
    assert len(export["approved_hash"]) == 64
    assert export["waiting_for"] == {
        "code": "CONNECTION_PAUSED",
        "message": "Waiting: the connection is paused. Reason: The connection was not tested since "
        "it was set up or changed.",
        "until": None,
        "connection_paused": "NEVER_TESTED",
        "error": None,
    }
    pushed = owner.get(order).json()
    assert (pushed["status"], pushed["latest_export"]["id"]) == ("PUSHING", export["id"])

    payload = owner.get(response["Location"] + "/payload")
    assert payload.content == preview.content == bytes(ErpExport.objects.get().payload)
    assert payload["Content-Type"] == preview["Content-Type"] == "application/json"
    assert payload["ETag"] == f'"{export["payload_sha256"]}"'
    assert payload["Content-Disposition"] == f'attachment; filename="{export["filename"]}"'
    assert owner.get(f"{order}/preview").content == preview.content


def test_second_push_returns_the_live_export(owner: APIClient, connection: ErpConnection) -> None:
    order = create_approved(owner)
    live = post(owner, f"{order}/push").json()["id"]
    assert refusal(post(owner, f"{order}/push"), 409, "LIVE_EXPORT")["export"] == live
    assert refusal(post(owner, f"{order}/retry-push"), 409, "NOT_FAILED")["export"] == live


def test_an_unapproved_order_is_not_pushed(owner: APIClient, connection: ErpConnection) -> None:
    order = f"{ORDERS}/{create(owner)['id']}"
    refusal(post(owner, f"{order}/push"), 409, "NOT_APPROVED")
    refusal(post(owner, f"{order}/retry-push"), 409, "NOT_FAILED")
    refusal(owner.get(f"{order}/preview"), 409, "NOT_APPROVED")


def test_without_a_connection_nothing_is_pushed(owner: APIClient) -> None:
    order = create_approved(owner)
    refusal(post(owner, f"{order}/push"), 422, "NO_CONNECTION")
    refusal(owner.get(f"{order}/preview"), 422, "NO_CONNECTION")


def test_a_change_after_the_approval_is_not_pushed(
    owner: APIClient, connection: ErpConnection
) -> None:
    order = create_approved(owner)
    Customer.objects.update(name="Muster AG")
    refusal(post(owner, f"{order}/push"), 409, "CHANGED_SINCE_APPROVAL")
    refusal(owner.get(f"{order}/preview"), 409, "CHANGED_SINCE_APPROVAL")


def test_only_the_content_that_was_read_is_approved(owner: APIClient) -> None:
    order = create(owner, source_document=DOCUMENT)
    path = f"{ORDERS}/{order['id']}"
    seen = {"content_sha256": order["content_sha256"]}
    assert owner.get(path).json()["content_sha256"] == order["content_sha256"]
    Customer.objects.update(name="Muster AG")
    refusal(post(owner, f"{path}/approve", seen), 409, "CHANGED_SINCE_SHOWN")
    shown = owner.get(path).json()
    assert (shown["status"], shown["approved_at"]) == ("READY", None)
    assert shown["content_sha256"] != order["content_sha256"]
    for wrong in ("", "x", "F" * 64, None, 5):
        assert post(owner, f"{path}/approve", {"content_sha256": wrong}).status_code == 400
    now = {"content_sha256": shown["content_sha256"]}
    assert post(owner, f"{path}/approve", now).status_code == 200


def test_retry_push_makes_a_new_export(owner: APIClient, connection: ErpConnection) -> None:
    order, failed = create_failed(owner)
    response = post(owner, f"{order}/retry-push")
    assert response.status_code == 202
    assert response["Location"] == f"{EXPORTS}/{response.json()['id']}" != failed
    assert owner.get(order).json()["latest_export"]["id"] == response.json()["id"]


# Following exports.
def test_a_cancelled_export_says_so(owner: APIClient, connection: ErpConnection) -> None:
    order, path = create_failed(owner)
    export = owner.get(path).json()
    assert (export["status"], export["error"]["code"]) == ("FAILED", "CANCELLED")
    assert export["waiting_for"] is None
    assert owner.get(order).json()["status"] == "APPROVED"
    created, cancelled = owner.get(f"{path}/events").json()
    assert (created["kind"], cancelled["kind"]) == ("CREATED", "CANCELLED")
    assert cancelled["actor"] == "olivia@acme.example"
    assert cancelled["detail"] == {"reason": "too early"}
    refusal(post(owner, f"{path}/cancel"), 409, "NOT_CANCELLABLE")


def test_an_error_of_a_former_release_names_who_can_fix_it_in_present_words(
    owner: APIClient, connection: ErpConnection
) -> None:
    _, export = create_failed(owner)
    ErpExport.objects.update(error_json={"code": "DNS", "owner": "ERP admin"})
    assert owner.get(export).json()["error"]["owner"] == "ERP team"


def test_a_cleared_payload_is_404(owner: APIClient, connection: ErpConnection) -> None:
    _, export = create_failed(owner)
    ErpExport.objects.update(payload=None, archived_at=timezone.now())
    refusal(owner.get(f"{export}/payload"), 404, "PAYLOAD_CLEARED")


def test_staging_names_stay_inside(owner: APIClient, connection: ErpConnection) -> None:
    export = post(owner, f"{create_approved(owner)}/push")["Location"]
    ErpExport.objects.update(
        staged_path="/x/secret.tmp", staged_at=timezone.now(), destination={"mode": "filesystem"}
    )
    ErpExport.objects.get().events.update(detail={"tmp": "/x/secret.tmp", "stage": "stage"})
    for path in (export, f"{export}/events", EXPORTS):
        assert "secret" not in owner.get(path).content.decode()
    assert owner.get(f"{export}/events").json()[0]["detail"] == {"stage": "stage"}
    assert (
        owner.get(EXPORTS)
        .json()["results"][0]
        .keys()
        .isdisjoint(
            {"payload", "staged_path", "destination", "export_storage_key", "cleaned_up_at"}
        )
    )


def test_exports_are_filtered(owner: APIClient, connection: ErpConnection) -> None:
    order, failed = create_failed(owner)
    create(owner)

    def found(query: str) -> list[str]:
        return [f"{EXPORTS}/{e['id']}" for e in owner.get(EXPORTS + query).json()["results"]]

    order_id = order.rpartition("/")[2]
    assert found("") == found("?status=FAILED") == found(f"?draft_order={order_id}") == [failed]
    assert found("?status=SENT") == found(f"?draft_order={failed.rpartition('/')[2]}") == []
    assert wrong_parameters(owner.get(f"{EXPORTS}?status=LOST")) == {"status"}
    assert wrong_parameters(owner.get(f"{EXPORTS}?draft_order=7")) == {"draft_order"}


# Who may; tests/doors/test_api_matrix.py asks for every route.
def test_a_dead_token_is_refused(org: Org) -> None:
    user = person("olivia", org, "Integration")
    yesterday = timezone.now() - timedelta(days=1)
    _, expired = create_token(user, org=org, name="expired", expires_at=yesterday)
    token, text = create_token(user, org=org, name="live")
    assert bearer(text).get(ORDERS).status_code == 200
    revoke_token(token, actor=user)
    for dead in (expired, text, "oft_guessed", "ö"):
        refusal(bearer(dead).get(ORDERS), 401, "authentication_failed")


@pytest.mark.parametrize("path", ["/api", "/api/", "/api/v1", "/api/v2/x", f"{ORDERS}/x/y/z"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_an_unknown_path_is_a_problem(path: str, method: str) -> None:
    refusal(APIClient(enforce_csrf_checks=True).generic(method, path), 404, "not_found")


def test_a_list_shows_the_latest_export_of_each_order(
    owner: APIClient, connection: ErpConnection
) -> None:
    create_failed(owner)
    for number in range(5):
        post(owner, f"{create_approved(owner, external_order_number=f'PO-{number}')}/push")
    listed = owner.get(ORDERS).json()["results"]
    assert sorted(o["latest_export"]["status"] for o in listed) == ["FAILED"] + ["PENDING"] * 5
    assert all("lines" not in o for o in listed)


# The command that makes tokens.
def test_create_token_prints_a_token_that_works(org: Org) -> None:
    person("olivia", org, "Integration")
    out = StringIO()
    call_command(
        "create_token", "olivia", "--org=acme", "--name=shop", stdout=out, stderr=StringIO()
    )
    assert bearer(out.getvalue().strip()).get(ORDERS).status_code == 200


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["nobody", "--org=acme", "--name=x"], "no user nobody"),
        (["olivia", "--org=none", "--name=x"], "no organisation none"),
        (["olivia", "--org=other", "--name=x"], "not a member"),
        (["olivia", "--org=acme", "--name="], "--name"),
        (["olivia", "--org=acme", "--name=x", "--days=0"], "--days"),
    ],
)
def test_create_token_says_what_is_wrong(
    org: Org, stranger: APIClient, options: list[str], message: str
) -> None:
    person("olivia", org, "Integration")
    with pytest.raises(CommandError, match=message):
        call_command("create_token", *options)

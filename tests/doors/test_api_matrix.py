"""Every route of the API with every kind of client: who gets in, and who does not even see it."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import Org
from accounts.tokens import create_token
from api.urls import router
from api.viewsets import OrgViewSet
from connectors.models import ConnectionTest, ErpConnection
from exports.models import ErpAck, ErpExport
from exports.pushing.batches import create_batch
from orders.models import DraftOrder
from tests.support.api import bearer, client, create_failed, person, refusal

pytestmark = pytest.mark.django_db

V1 = "/api/v1"

# What the groups may: everybody looks; who writes orders, who decides about them, who connects.
LOOKERS = {"Viewer", "Approver", "Operator", "Integration"}
WRITERS = {"Approver", "Integration"}
PUSHERS = {"Approver", "Operator", "Integration"}
CONNECTORS = {"Operator"}

ORDER, EXPORT, CONNECTION, ACK, BATCH = (
    f"{V1}/{name}/{{{name}}}"
    for name in ("draft-orders", "erp-exports", "erp-connections", "erp-acks", "batches")
)
MATRIX = {
    ("GET", f"{V1}/draft-orders"): LOOKERS,
    ("POST", f"{V1}/draft-orders"): WRITERS,
    ("GET", ORDER): LOOKERS,
    ("PUT", ORDER): WRITERS,
    ("PATCH", ORDER): WRITERS,
    ("POST", f"{ORDER}/approve"): WRITERS,
    ("POST", f"{ORDER}/reject"): WRITERS,
    ("POST", f"{ORDER}/push"): PUSHERS,
    ("POST", f"{ORDER}/retry-push"): PUSHERS,
    ("GET", f"{ORDER}/preview"): LOOKERS,
    ("GET", f"{V1}/erp-exports"): LOOKERS,
    ("GET", EXPORT): LOOKERS,
    ("GET", f"{EXPORT}/payload"): LOOKERS,
    ("GET", f"{EXPORT}/events"): LOOKERS,
    ("POST", f"{EXPORT}/cancel"): PUSHERS,
    ("GET", f"{V1}/erp-connections"): LOOKERS,
    ("POST", f"{V1}/erp-connections"): CONNECTORS,
    ("GET", CONNECTION): LOOKERS,
    ("PATCH", CONNECTION): CONNECTORS,
    ("POST", f"{CONNECTION}/test"): CONNECTORS,
    ("GET", f"{CONNECTION}/tests/{{tests}}"): LOOKERS,
    ("POST", f"{CONNECTION}/pause"): CONNECTORS,
    ("POST", f"{CONNECTION}/resume"): CONNECTORS,
    ("GET", f"{V1}/erp-acks"): LOOKERS,
    ("GET", ACK): LOOKERS,
    ("GET", f"{V1}/batches"): LOOKERS,
    ("POST", f"{V1}/batches"): PUSHERS,
    ("POST", f"{V1}/batches/preview"): PUSHERS,
    ("GET", BATCH): LOOKERS,
    ("GET", f"{BATCH}/items"): LOOKERS,
    ("POST", f"{BATCH}/cancel"): PUSHERS,
}


@pytest.fixture
def objects(org: Org, owner: APIClient, connection: ErpConnection) -> dict[str, Any]:
    """One of everything, by the names in the paths."""
    order, export = create_failed(owner)
    user = person("tess", org, "Operator")
    every = DraftOrder.objects.filter(org=org)
    return {
        "batches": create_batch(org, action="retry", orders=every, actor=user).id,
        "draft-orders": order.rpartition("/")[2],
        "erp-exports": export.rpartition("/")[2],
        "erp-connections": connection.id,
        "tests": ConnectionTest.objects.create(connection=connection, requested_by=user).id,
        "erp-acks": ErpAck.objects.create(
            org=org,
            erp_connection=connection,
            export=ErpExport.objects.get(),
            filename="ack_x.json",
            sha256="0" * 64,
            raw="{}",
            classification="UNMATCHED",
        ).id,
    }


def test_the_matrix_has_every_route() -> None:
    routes = set()
    for pattern in router.urls:
        view = pattern.callback.cls
        assert issubclass(view, OrgViewSet)
        for method, action in pattern.callback.actions.items():
            if method == "head":  # added by the first request
                continue
            assert action in view.permissions, f"{view.__name__}.{action} declares no permission"
            routes.add((method.upper(), _path(str(pattern.pattern))))
    assert routes == set(MATRIX)


@pytest.mark.parametrize(("method", "route"), MATRIX)
def test_nobody_gets_in_without_a_live_token(
    method: str, route: str, objects: dict[str, Any], org: Org
) -> None:
    path = route.format(**objects)
    an_hour_ago = timezone.now() - timedelta(hours=1)
    user = person("otto", org, "Integration")
    _, expired = create_token(user, org=org, name="old", expires_at=an_hour_ago)
    refusal(APIClient().generic(method, path), 401, "not_authenticated")
    refusal(bearer(expired).generic(method, path), 401, "authentication_failed")


@pytest.mark.parametrize(("method", "route"), MATRIX)
def test_another_org_does_not_see_it(
    method: str, route: str, objects: dict[str, Any], owner: APIClient
) -> None:
    org = Org.objects.create(name="Rival", slug="rival")
    spy = person("spy", org, "Integration")
    spy.groups.add(*person("aide", org, "Operator").groups.all())
    for slash in ("", "/"):
        path = route.format(**objects) + slash
        response = client(spy, org).generic(method, path)
        if "{" in route:
            refusal(response, 404, "not_found")
        elif method == "GET":
            assert response.json()["results"] == []
            assert owner.get(path).json()["results"]


@pytest.mark.parametrize(("method", "route"), MATRIX)
def test_a_group_may_do_what_it_may(
    method: str, route: str, objects: dict[str, Any], org: Org
) -> None:
    path = route.format(**objects)
    for group in sorted(LOOKERS):
        # Each finds the objects as they were.
        with transaction.atomic():
            api = client(person("gus", org, group), org)
            response = api.generic(method, path, "{}", content_type="application/json")
            transaction.set_rollback(True)
        if group in MATRIX[method, route]:
            # What the rules say to it is another matter.
            assert response.status_code not in (401, 403, 404, 405, 500), group
        else:
            refusal(response, 403, "permission_denied")


def _path(pattern: str) -> str:
    """A route as the matrix writes it: each variable under the name of what it identifies."""
    named = re.sub(r"([\w-]+)/\(\?P<\w+>\[\^/\.\]\+\)", r"\1/{\1}", pattern)
    return f"{V1}/{named.removeprefix('^').removesuffix('/?$')}"

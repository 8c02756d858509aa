"""The API does what its OpenAPI description says."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import hypothesis
import pytest
import schemathesis
import yaml
from django.contrib.auth.models import Permission
from django.core.wsgi import get_wsgi_application
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from hypothesis import HealthCheck
from jsonschema import Draft202012Validator
from schemathesis.config import SchemathesisConfig
from schemathesis.core.parameters import ParameterLocation
from schemathesis.specs.openapi.checks import positive_data_acceptance

from accounts.models import RateWindow
from accounts.tokens import create_token
from connectors.models import ErpConnection
from exports.connection_tests import request_test
from exports.models import Batch, ErpAck, ErpExport, ErpExportEvent
from exports.pushing.batches import create_batch
from exports.pushing.push import cancel_export, push_order
from kernel.db import Now
from orders.models import DraftOrder
from tests.support.builders import a_connection, a_user, an_approved_order, an_order, an_org

OPENAPI = yaml.safe_load((Path(__file__).parents[2] / "openapi.yaml").read_text())
METHODS = {"get", "post", "put", "patch", "delete"}


def routes() -> Iterator[tuple[str, str, Any, str]]:
    """Each path of the API as it is described, a method, the view and the action behind it."""

    def patterns(resolver: URLResolver, prefix: str) -> Iterator[tuple[str, URLPattern]]:
        for inner in resolver.url_patterns:
            if isinstance(inner, URLResolver):
                yield from patterns(inner, prefix + str(inner.pattern))
            else:
                yield prefix + str(inner.pattern), inner

    for regex, pattern in patterns(get_resolver(), "/"):
        if regex.startswith("/api/v1/"):
            path = re.sub(r"\(\?P<(\w+)>[^)]+\)", r"{\1}", regex).replace("{pk}", "{id}")
            path = path.replace("^", "").removesuffix("/?$")
            for method, action in pattern.callback.actions.items():
                yield path, method, pattern.callback.cls, action


ROUTES = list(routes())


@pytest.mark.parametrize(("path", "method", "view", "action"), ROUTES, ids=str)
def test_every_route_is_described_and_asks_for_a_permission(
    path: str, method: str, view: Any, action: str
) -> None:
    assert method in OPENAPI["paths"][path]
    assert view.permissions[action]


def test_nothing_is_described_that_is_not_there() -> None:
    described = {
        (path, method)
        for path, item in OPENAPI["paths"].items()
        for method in item.keys() & METHODS
    }
    assert described == {(path, method) for path, method, *_ in ROUTES}


def test_the_description_is_served_to_anybody(client: Client) -> None:
    for path in ("/api/schema", "/api/schema/"):
        response = client.get(path)
        assert response.status_code == 200
        assert yaml.safe_load(response.content) == OPENAPI
    response = client.get("/api/schema", headers={"Accept": "application/vnd.oai.openapi+json"})
    assert response.json() == OPENAPI


def test_the_examples_are_valid() -> None:
    for name, schema in OPENAPI["components"]["schemas"].items():
        for example in schema.get("examples", ()):
            validator = Draft202012Validator(
                {"$ref": f"#/components/schemas/{name}", "components": OPENAPI["components"]}
            )
            assert list(validator.iter_errors(example)) == [], name


class World:
    """An org with a dropzone, a token that may do everything there, and objects to aim at."""

    def __init__(self, folder: Path) -> None:
        self.org = an_org()
        self.user = a_user(self.org)
        self.user.user_permissions.set(Permission.objects.all())
        self.has_succeeded = False
        self.token = create_token(self.user, org=self.org, name="test")[1]
        self.erp = a_connection(self.org, {"mode": "filesystem", "export_path": str(folder)})
        ErpAck.objects.create(
            org=self.org, erp_connection=self.erp, filename="ack_x.json", classification="UNMATCHED"
        )
        self.export()

    def prepare(self, operation: str) -> dict[str, UUID]:
        """Let an operation succeed, unless the request is wrong; return the ids for its path."""
        match operation:
            case "draft_order_push" | "draft_order_preview":
                return {"id": self.approved_order().id}
            case "draft_order_retry_push":
                export = self.export()
                cancel_export(export.id, actor=self.user)
                return {"id": export.draft_order_id}
            case "draft_order_list" | "draft_order_create" | "erp_export_list":
                return {}
            case "erp_connection_create":
                # An org has one.
                ErpAck.objects.all().delete()
                ErpExportEvent.objects.all().delete()
                ErpExport.objects.all().delete()
                ErpConnection.objects.all().delete()
            case "batch_retrieve" | "batch_cancel":
                return {"id": self.batch().id}
            case "batch_item_list":
                return {"batch": self.batch().id}
            case "erp_connection_test":
                RateWindow.objects.all().delete()
            case "erp_connection_resume":
                ErpConnection.objects.update(paused_at=Now(), pause_code="AUTH_FAILED")
            case "erp_connection_pause":
                ErpConnection.objects.update(
                    paused_at=None, pause_code="", paused_by=None, pause_text=""
                )
            case "erp_connection_test_result":
                RateWindow.objects.all().delete()
                return {"id": self.erp.id, "test": request_test(self.erp, actor=self.user).id}
        if operation.startswith("draft_order"):
            return {"id": an_order(self.org, uuid4().hex).id}
        if operation.startswith("erp_export"):
            return {"id": self.export().id}
        if operation.startswith("erp_ack"):
            return {"id": ErpAck.objects.get().id}
        return {"id": self.erp.id}

    def approved_order(self) -> DraftOrder:
        return an_approved_order(self.org, self.user, uuid4().hex)

    def batch(self) -> Batch:
        orders = DraftOrder.objects.filter(org=self.org)
        return create_batch(self.org, action="push", orders=orders, actor=self.user)

    def export(self) -> ErpExport:
        return push_order(self.approved_order().id, actor=self.user)


@pytest.fixture
def api_world(transactional_db: None, dropzone_root: Path, settings: Any) -> Iterator[World]:
    settings.API_REQUESTS_PER_MINUTE = 0
    settings.WRONG_TOKENS_PER_MINUTE = 1_000_000
    api_world = World(dropzone_root)
    yield api_world
    assert api_world.has_succeeded, "no request was well enough made to be more than refused"


def is_beyond_schemas(case: schemathesis.Case) -> bool:
    """Whether a request may be refused although it is as described.

    A schema cannot tell which cursors there are, what a connector makes of its configuration, what
    a batch finds, that lines have different numbers, that changes come in their own order,
    nor that a text that may be blank has no null character.
    """
    body = case.body if isinstance(case.body, dict) else {}
    return (
        "cursor" in case.query
        or case.query.keys() >= {"ordering", "updated_since"}
        or "config" in body
        or "action" in body
        or "\\u0000" in json.dumps(body)
        or len(body.get("lines") or ()) > 1
    )


EXPLORES = hypothesis.settings.get_current_profile_name() == "explore"
CONFIG = SchemathesisConfig.from_dict(
    {
        "seed": hypothesis.core.global_force_seed if EXPLORES else 1,
        "generation": {"deterministic": not EXPLORES, "database": "none", "max-examples": 10},
        # It tries the same requests whatever the seed is.
        "phases": {"coverage": {"enabled": not EXPLORES}},
        # A version is looked at before the rest of a request.
        "checks": {
            "negative_data_rejection": {
                "expected-statuses": ["400", "401", "403", "404", "405", "406", "409", "412", "415"]
            }
        },
    }
)
API = schemathesis.openapi.from_dict(OPENAPI, config=CONFIG)
API.app = get_wsgi_application()


@API.parametrize()
@hypothesis.settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_answer_is_as_described(case: schemathesis.Case, api_world: World) -> None:
    operation = case.operation.definition.raw["operationId"]
    ids = api_world.prepare(operation)
    if case.path_parameters and not case.meta.is_negative_at(ParameterLocation.PATH):
        case.path_parameters |= {name: str(key) for name, key in ids.items()}
    if not case.meta.is_negative_at(ParameterLocation.HEADER):
        for name, value in {"If-Match": "*", "Idempotency-Key": uuid4().hex}.items():
            if name in case.headers:
                case.headers[name] = value
    if not case.meta.is_negative_at(ParameterLocation.BODY):
        match case.body:
            case {"action": action, "orders": _}:
                known = [str(key) for key in DraftOrder.objects.values_list("id", flat=True)]
                case.body = {"action": action, "orders": known}
    response = case.call_and_validate(
        headers={"Authorization": f"Bearer {api_world.token}"},
        excluded_checks=[positive_data_acceptance] if is_beyond_schemas(case) else [],
    )
    api_world.has_succeeded |= response.status_code < 300

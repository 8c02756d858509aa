"""The API does what its OpenAPI description says."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from jsonschema import Draft202012Validator

OPENAPI = yaml.safe_load((Path(__file__).parents[1] / "openapi.yaml").read_text())
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

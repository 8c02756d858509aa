"""The OpenAPI schema of an action, derived from what its view declares."""

from collections import defaultdict
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, TypeVar

import yaml
from django.core.validators import RegexValidator
from drf_spectacular.extensions import (
    OpenApiAuthenticationExtension,
    OpenApiSerializerFieldExtension,
)
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import append_meta, build_parameter_type
from drf_spectacular.utils import Direction, OpenApiParameter
from rest_framework.serializers import DecimalField

from api.errors import refusal_status
from api.serializers import NOT_BLANK, StrictSerializer, Text
from kernel.problems import CONTENT_TYPE

Schema = dict[str, Any]
F = TypeVar("F", bound=Callable[..., Any])

_ALWAYS: Final = {401, 403, 406, 429, 500, 503}
_BLANK: Final = {"type": "string", "maxLength": 0}
# A file that the ERP will read, as it stands.
EXPORT_DOCUMENT: Final[Schema] = {
    "type": "object",
    "description": "An orderflow_export_json_v1 document.",
    "externalDocs": {
        "url": "/schemas/orderflow_export_json_v1.schema.json",
        "description": "Its JSON Schema.",
    },
}


def part(kind: str, name: str) -> Schema:
    """A reference to something in openapi_shared.yaml."""
    return {"$ref": f"#/components/{kind}/{name}"}


def may_violate(*codes: str) -> Callable[[F], F]:
    """Name the codes by which the rules may refuse an action."""

    def declare(action: F) -> F:
        action.refusals = codes  # type: ignore[attr-defined]
        return action

    return declare


def add_parts(result: Schema, **_: Any) -> Schema:
    """Add what the operations share. Source: drf-spectacular's POSTPROCESSING_HOOKS."""
    parts: Schema = yaml.safe_load(Path(__file__).with_name("openapi_shared.yaml").read_text())
    for kind, shared in parts.pop("components").items():
        known = result["components"].setdefault(kind, {})
        for name, part in shared.items():
            known[name] = known.get(name, {}) | part
    # The slash at the end is optional.
    parts["paths"] = {path.rstrip("/"): item for path, item in result["paths"].items()}
    return result | parts


class ApiSchema(AutoSchema):
    """Describes an action.

    The first line of its docstring is the summary, the rest the description. `refuses` tells why
    the rules may forbid it, `is_idempotent` that it takes an Idempotency-Key, and `is_versioned`
    that the view's objects have entity tags.
    """

    view: Any

    @property
    def _action(self) -> Callable[..., Any]:
        action: Callable[..., Any] = getattr(self.view, self.view.action)
        return action

    @property
    def _is_idempotent(self) -> bool:
        return getattr(self._action, "is_idempotent", False)

    @property
    def _is_write(self) -> bool:
        return self.method != "GET"

    @property
    def _is_about_one(self) -> bool:
        return "{" in self.path

    def get_operation_id(self) -> str:
        return f"{self.view.basename}_{self.view.action}".replace("-", "_")

    def get_summary(self) -> str:
        return super().get_description().partition("\n")[0].rstrip(".")

    def get_description(self) -> str:  # type: ignore[override]
        return super().get_description().partition("\n")[2].strip()

    def _resolve_path_parameters(self, variables: list[str]) -> list[Schema]:
        schema = {"type": "string", "format": "uuid"}
        return [build_parameter_type(name, schema, OpenApiParameter.PATH) for name in variables]

    def _get_parameters(self) -> list[Schema]:
        parameters: list[Schema] = super()._get_parameters()
        if self._is_idempotent:
            parameters.append(part("parameters", "Idempotency-Key"))
        if self._takes_if_match:
            parameters.append(part("parameters", "If-Match"))
        return parameters

    @property
    def _takes_if_match(self) -> bool:
        return self.view.is_versioned and self._is_write and self._is_about_one

    def _map_basic_serializer(self, serializer: Any, direction: Direction) -> Schema:
        schema: Schema = super()._map_basic_serializer(serializer, direction)  # type: ignore[no-untyped-call]
        if not type(serializer).__doc__:
            schema.pop("description", None)
        if direction == "response":
            # Answers leave nothing out, and show an absent text as null.
            schema["required"] = list(schema["properties"])
            for shown in schema["properties"].values():
                if _BLANK in shown.get("oneOf", ()):
                    shown.update(shown.pop("oneOf")[0])
        elif isinstance(serializer, StrictSerializer):
            schema["additionalProperties"] = False
        return schema

    def _get_request_body(self, direction: Direction = "request") -> Schema | None:
        body: Schema | None = super()._get_request_body(direction)  # type: ignore[no-untyped-call]
        if body and self.method == "PATCH":
            # No field of it is, but a body that is empty was probably lost on the way.
            body["required"] = True
        return body

    def _get_response_bodies(self, direction: Direction = "response") -> Schema:
        answers: Schema = super()._get_response_bodies(direction)
        for status, answer in answers.items():
            answer["description"] = answer["description"] or HTTPStatus(int(status)).phrase
        return dict(sorted((answers | self._problems()).items()))

    def _get_response_headers_for_code(
        self, status_code: str, direction: Direction = "response"
    ) -> Schema:
        names = ["X-Request-ID"]
        if status_code in ("201", "202"):
            names.append("Location")
        if status_code == "202":
            names.append("Retry-After")
        if self.view.is_versioned and self._shows_the_object:
            names.append("ETag")
        if self._is_idempotent:
            names.append("Idempotent-Replayed")
        declared: Schema = super()._get_response_headers_for_code(status_code, direction)
        return {name: part("headers", name) for name in names} | declared

    @property
    def _shows_the_object(self) -> bool:
        shown = self.get_response_serializers()
        return self.view.action != "list" and isinstance(shown, self.view.get_serializer_class())

    def _problems(self) -> Schema:
        """The answers that are problems, by status."""
        statuses = set(_ALWAYS)
        if self._is_write:
            statuses |= {400, 413, 415}
        if self.view.action == "list":
            statuses.add(400)
        if self._is_about_one:
            statuses.add(404)
        if self._takes_if_match:
            statuses.add(412)
        refusals: dict[int, list[str]] = defaultdict(list)
        for code in getattr(self._action, "refusals", ()):
            refusals[refusal_status(code)].append(code)
        if self._is_idempotent:
            refusals[422].append("idempotency_key_reused")
        return {str(status): part("responses", str(status)) for status in statuses} | {
            str(status): _refusal(codes) for status, codes in refusals.items()
        }


class TextExtension(OpenApiSerializerFieldExtension):
    """Where the database has '', clients see null; both mean that there is no text."""

    target_class = Text

    def map_serializer_field(self, auto_schema: AutoSchema, direction: Direction) -> Schema:
        schema: Schema = auto_schema._map_serializer_field(self.target, direction, True)
        may_be_blank = self.target.allow_blank or self.target.read_only
        if may_be_blank:
            return append_meta(schema, {"nullable": True})
        has_pattern = any(isinstance(check, RegexValidator) for check in self.target.validators)
        if direction == "request" and not has_pattern:
            schema["pattern"] = NOT_BLANK
        return schema


class DecimalExtension(OpenApiSerializerFieldExtension):
    """Exact numbers go out as texts, and come in as texts or as numbers."""

    target_class = DecimalField

    def map_serializer_field(self, auto_schema: AutoSchema, direction: Direction) -> Schema:
        whole, places = self.target.max_whole_digits, self.target.decimal_places
        text = {"type": "string", "pattern": rf"^-?\d{{1,{whole}}}(\.\d{{1,{places}}})?$"}
        if direction == "response":
            return text
        bound = 10**whole
        number = {
            "type": "number",
            "exclusiveMinimum": -bound,
            "exclusiveMaximum": bound,
            "multipleOf": float(f"1e-{places}"),
        }
        # A blank is as good as null.
        blank = [{"type": "string", "pattern": r"^\s*$"}] if self.target.allow_null else []
        return {"anyOf": [text, number, *blank]}


class BearerTokenExtension(OpenApiAuthenticationExtension):
    target_class = "api.authentication.BearerTokenAuthentication"
    name = "token"

    def get_security_definition(self, auto_schema: AutoSchema) -> Schema:
        return {
            "type": "http",
            "scheme": "bearer",
            "description": "An API token acts as its user within one organisation. It is made in "
            "the admin or by `manage.py create_token`, and shown once.",
        }


def _refusal(codes: list[str]) -> Schema:
    problem = {
        "allOf": [part("schemas", "Problem"), {"properties": {"code": {"enum": sorted(codes)}}}]
    }
    return {
        "description": f"Not allowed: {', '.join(f'`{code}`' for code in codes)}.",
        "headers": {"X-Request-ID": part("headers", "X-Request-ID")},
        "content": {CONTENT_TYPE: {"schema": problem}},
    }

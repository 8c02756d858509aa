"""The JSON Schemas (2020-12) of exports and acks, made from structs.

An answer that is valid by its schema is understood; so are others (see acks.py).
"""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct

from connectors.dropzone import acks, document

Identifier = (
    Annotated[str, Meta(min_length=1, max_length=acks.MAX_IDENTIFIER, pattern=r"\S")]
    # Larger integers do not survive every JSON library.
    | Annotated[int, Meta(ge=0, le=2**53 - 1)]
    | None
)
Moment = (
    Annotated[
        str,
        Meta(
            description="With a time zone: Z or an offset.",
            pattern=r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})$",
            extra_json_schema={"format": "date-time"},
        ),
    ]
    | None
)
SameOrder = Annotated[
    document.Uuid | None, Meta(description="As in the exported document; another one is refused.")
]
SameFile = Annotated[
    str | None,
    Meta(description="The name of the exported file; another one is refused."),
]


class Acceptance(Struct, frozen=True, kw_only=True):
    """The ERP has taken the order."""

    status: Literal["ACKED"]
    erp_order_id: Annotated[Identifier, Meta(description="The number of the order in the ERP.")] = (
        None
    )
    processed_at: Moment = None
    draft_order_id: SameOrder = None
    export_filename: SameFile = None


class Refusal(Struct, frozen=True, kw_only=True):
    """The ERP has refused the order."""

    status: Literal["FAILED"]
    error_code: Annotated[
        Identifier, Meta(description="A stable name of the reason, for programs.")
    ] = None
    message: Annotated[
        Annotated[str, Meta(max_length=acks.MAX_MESSAGE)] | None,
        Meta(description="The reason, for the person who must correct the order."),
    ] = None
    processed_at: Moment = None
    draft_order_id: SameOrder = None
    export_filename: SameFile = None


STRUCTS: Final[dict[str, type[Struct]]] = {
    document.FORMAT_VERSION: document.Export,
    "orderflow_ack_v1": Acceptance,
    "orderflow_error_ack_v1": Refusal,
}


def json_schema(name: str) -> dict[str, Any]:
    """Return a schema by its name. Raises KeyError."""
    (reference,), definitions = msgspec.json.schema_components(
        [STRUCTS[name]], ref_template="#/$defs/{name}"
    )
    for definition in definitions.values():
        for member, schema in definition["properties"].items():
            definition["properties"][member] = _numbers(schema)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": name,
        **reference,
        "$defs": definitions,
    }


def _numbers(schema: dict[str, Any]) -> dict[str, Any]:
    # msgspec describes a Decimal as the string it is by default; here it is written as a number.
    if schema.get("format") == "decimal":
        return {"type": "number"}
    if "anyOf" in schema:
        return {**schema, "anyOf": [_numbers(option) for option in schema["anyOf"]]}
    return schema

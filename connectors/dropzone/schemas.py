"""The JSON Schema of the files that are exchanged."""

from typing import Any

import msgspec

from connectors.dropzone import document


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of the document, made from the structs."""
    (reference,), definitions = msgspec.json.schema_components(
        [document.Export], ref_template="#/$defs/{name}"
    )
    for definition in definitions.values():
        for name, schema in definition["properties"].items():
            definition["properties"][name] = _numbers(schema)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": document.FORMAT_VERSION,
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

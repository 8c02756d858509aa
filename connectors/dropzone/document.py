"""The writer of orderflow_export_json_v1 documents: the structs are the schema."""

from datetime import UTC, date
from decimal import Decimal
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from connectors.errors import ConnectorError
from connectors.port import LineSnapshot, OrderSnapshot, OrgSnapshot

FORMAT_VERSION: Final = "orderflow_export_json_v1"

Uuid = Annotated[str, Meta(extra_json_schema={"format": "uuid"})]
Timestamp = Annotated[
    str,
    Meta(
        pattern=r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z$",
        extra_json_schema={"format": "date-time"},
    ),
]
Currency = Annotated[str, Meta(pattern="^[A-Z]{3}$")]


class Customer(Struct, frozen=True, kw_only=True):
    id: Uuid
    erp_customer_number: str
    name: str


class Header(Struct, frozen=True, kw_only=True):
    external_order_number: str | None
    order_date: date | None
    currency: Currency
    requested_delivery_date: date | None
    notes: str | None


class Line(Struct, frozen=True, kw_only=True):
    line_no: Annotated[int, Meta(ge=1)]
    internal_sku: str
    qty: Decimal
    uom: str
    unit_price: Decimal | None
    currency: Currency
    customer_sku_raw: str | None
    description: str | None


class SourceDocument(Struct, frozen=True, kw_only=True):
    document_id: Uuid
    file_name: str
    sha256: str


class MetaData(Struct, frozen=True, kw_only=True):
    created_by: str
    source_document: SourceDocument | None


class Export(Struct, frozen=True, kw_only=True):
    export_version: Literal["orderflow_export_json_v1"]
    org_slug: str
    draft_order_id: Uuid
    approved_at: Timestamp
    customer: Customer
    header: Header
    lines: list[Line]
    meta: MetaData


_encoder = msgspec.json.Encoder(decimal_format="number")


def render(order: OrderSnapshot, org: OrgSnapshot) -> bytes:
    """Return the document: keys in the order of the structs, missing values null, UTF-8.

    Raises ConnectorError (NOT_EXPORTABLE) for text that UTF-8 cannot hold.
    """
    document = order.source_document
    export = Export(
        export_version=FORMAT_VERSION,
        org_slug=org.slug,
        draft_order_id=str(order.id),
        approved_at=order.approved_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        customer=Customer(
            id=str(order.customer.id),
            erp_customer_number=order.customer.erp_customer_number,
            name=order.customer.name,
        ),
        header=Header(
            external_order_number=order.external_order_number,
            order_date=order.order_date,
            currency=order.currency,
            requested_delivery_date=order.requested_delivery_date,
            notes=order.notes,
        ),
        lines=[_line(line, order.currency) for line in order.lines],
        meta=MetaData(
            created_by=order.approved_by,
            source_document=SourceDocument(
                document_id=str(document.id),
                file_name=document.file_name,
                sha256=document.sha256,
            )
            if document
            else None,
        ),
    )
    try:
        return _encoder.encode(export)
    except UnicodeEncodeError as e:
        raise ConnectorError(
            "NOT_EXPORTABLE", public="A text of the order is not valid Unicode."
        ) from e


def _line(line: LineSnapshot, order_currency: str) -> Line:
    return Line(
        line_no=line.line_no,
        internal_sku=line.internal_sku,
        qty=_exact(line.qty),
        uom=line.uom,
        unit_price=None if line.unit_price is None else _exact(line.unit_price),
        currency=line.currency or order_currency,
        customer_sku_raw=line.customer_sku_raw,
        description=line.description,
    )


def _exact(number: Decimal) -> Decimal:
    # normalize() drops trailing zeros but turns 10 into 1E+1, which quantize() writes out again.
    short = number.normalize() or Decimal(0)
    return short.quantize(Decimal(1)) if short == short.to_integral_value() else short

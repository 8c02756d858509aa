"""The orders of the demo: six customers, five currencies, one order of 120 lines."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.utils import timezone

from accounts.models import Org, User
from orders.approval import editing
from orders.creation import create_order
from orders.models import Customer, DraftOrder
from simulator.script import Error, Script

_DELIVERED_IN = timedelta(days=14)


def _line(
    sku: str, qty: str, uom: str, price: str | None, description: str, customer_sku: str = ""
) -> dict[str, Any]:
    return {
        "internal_sku": sku,
        "qty": Decimal(qty),
        "uom": uom,
        "unit_price": None if price is None else Decimal(price),
        "description": description,
        "customer_sku_raw": customer_sku,
    }


# The ERP knows this customer by another number than its order says.
_CUSTOMER = "Thornbury Dental Supplies Ltd"
_UNKNOWN_NUMBER, _KNOWN_NUMBER = "40001", "40010"

# What create_order takes.
_ORDERS: tuple[dict[str, Any], ...] = (
    {
        "external_order_number": "DEMO-PO-4711",
        "customer": {
            "erp_customer_number": "10017",
            "name": "Müller & Söhne Präzisionstechnik GmbH",
        },
        "currency": "EUR",
        "notes": "Bitte vor 10 Uhr anliefern, Tor 3.",
        "lines": [
            _line("BRG-6204-2RS", "24", "PCE", "3.85", "Rillenkugellager 6204-2RS", "KL-6204"),
            _line("GRS-LGMT2-1", "2.5", "KGM", "41.90", "Wälzlagerfett"),
            _line("SHF-H7-20", "12.75", "MTR", "18.4", "Präzisionswelle ø 20 mm h7", "W-20-H7"),
        ],
    },
    {
        "external_order_number": "DEMO-PO-4712",
        "customer": {"erp_customer_number": "10042", "name": "Café Zürcher Rösterei AG"},
        "currency": "CHF",
        "lines": [
            _line("CFE-ETH-GRN", "180", "KGM", "7.125", "Rohkaffee Yirgacheffe", "ETH-YRG"),
            _line("BAG-KRAFT-250", "5000", "PCE", "0.0875", "Beutel mit Ventil, 250 g"),
        ],
    },
    {
        "external_order_number": "DEMO-PO-4713",
        "customer": {"erp_customer_number": "20008", "name": "Brødrene Sørensen A/S"},
        "currency": "DKK",
        "notes": "Ring en time før levering.",
        "lines": [
            _line("OAK-PLK-27", "38.416", "MTQ", "6150", "Egeplanker, 27 mm, ovntørret", "EG-27"),
            _line("OIL-HARD-5L", "16", "CAN", "389.5", "Hårdvoksolie, mat, 5 l"),
        ],
    },
    {
        "external_order_number": "DEMO-PO-4714",
        "customer": {
            "erp_customer_number": "30150",
            "name": "Łódzka Hurtownia Śrub sp. z o.o.",
        },
        "currency": "PLN",
        "notes": "The yearly stock order: every size of the catalogue.",
        "lines": [
            _line(
                f"SCR-933-M{d}x{length}",
                str(50 * (1 + d * length % 40)),
                "PCE",
                str(Decimal(d * d * length) / 10_000),
                f"Śruba sześciokątna DIN 933 M{d}×{length}, ocynk",
                f"ŚR-{d}-{length}",
            )
            for d in (3, 4, 5, 6, 8, 10, 12, 14, 16, 20)
            for length in (8, 10, 12, 16, 20, 25, 30, 40, 50, 60, 80, 100)
        ],
    },
    {
        "external_order_number": "DEMO-PO-4715",
        "customer": {"erp_customer_number": _UNKNOWN_NUMBER, "name": _CUSTOMER},
        "currency": "GBP",
        "notes": "Line 2 replaces the parcel lost in transit.",
        "lines": [
            _line("GLV-NIT-M", "40", "BX", "6.99", "Nitrile gloves, medium, 100 a box", "NIT/M"),
            _line("CMP-A2-4G", "15", "PCE", None, "Composite, shade A2, 4 g syringe"),
        ],
    },
    {
        "external_order_number": "DEMO-PO-4716",
        "customer": {"erp_customer_number": "10099", "name": "Gärtnerei Grünhügel e. K."},
        "currency": "EUR",
        "lines": [
            _line("SED-MIX-WLD", "0.000125", "TNE", "96000", "Wildblumen, gebietsheimisch"),
            _line("SUB-PEATFREE", "3.6", "MTQ", "74.333333", "Substrat, torffrei", "SUBST"),
            _line("POT-TC-12", "288", "PCE", "0.42", "Tontopf ø 12 cm"),
        ],
    },
)


def demo_script() -> Script:
    """How the demo's ERP answers: it refuses one of the orders."""
    refusal = Error(
        customer=_UNKNOWN_NUMBER,
        code="CUSTOMER_UNKNOWN",
        message=f"Customer {_UNKNOWN_NUMBER} is not known.",
    )
    return Script((refusal, *Script.load().rules))


def correct_customer(order: DraftOrder, *, actor: User) -> None:
    """Give the order that the ERP refused the customer that the ERP knows. Raises RuleViolation."""
    with editing(order.id, actor=actor) as refused:
        refused.customer, _ = Customer.objects.get_or_create(
            org=order.org, erp_customer_number=_KNOWN_NUMBER, defaults={"name": _CUSTOMER}
        )
        refused.save(update_fields=["customer"])


def demo_orders(org: Org) -> list[DraftOrder]:
    """Return the orders of the demo; those that the org does not have yet are created."""
    return [_find(org, sample) or _create(org, sample) for sample in _ORDERS]


def _find(org: Org, sample: dict[str, Any]) -> DraftOrder | None:
    number = sample["external_order_number"]
    known = DraftOrder.objects.filter(org=org, external_order_number=number)
    return known.order_by("created_at").first()


def _create(org: Org, sample: dict[str, Any]) -> DraftOrder:
    today = timezone.localdate()
    numbered = [{"line_no": n, **line} for n, line in enumerate(sample["lines"], 1)]
    dates = {"order_date": today, "requested_delivery_date": today + _DELIVERED_IN}
    return create_order(org, **{**sample, **dates, "lines": numbered})

"""Draft orders, their lines, customers and source documents."""

from typing import TypeAlias

from django.core.validators import MinValueValidator, RegexValidator
from django.db import models
from django.db.models import Q
from django.utils.functional import cached_property

from accounts.models import Org, User
from kernel.db import Now
from kernel.models import UuidModel

currency_code = RegexValidator(
    r"^[A-Z]{3}\Z", "Enter an ISO 4217 code of three capitals, like EUR."
)
sha256_hex = RegexValidator(r"^[0-9a-f]{64}\Z", "Enter 64 lower-case hexadecimal digits.")


class Customer(UuidModel):
    org = models.ForeignKey(
        Org, on_delete=models.PROTECT, related_name="customers", verbose_name="organisation"
    )
    erp_customer_number = models.CharField(
        "ERP customer number",
        max_length=100,
        blank=True,
        help_text="The customer's number in the ERP. Orders wait for review until it is known.",
    )
    name = models.CharField(max_length=300)

    class Meta:
        db_table = "customer"
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(
                fields=["org", "erp_customer_number"],
                condition=~Q(erp_customer_number=""),
                name="customer_erp_number_unique",
                violation_error_message="Another customer has this ERP customer number.",
            )
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.erp_customer_number or 'no ERP number'})"


class SourceDocument(UuidModel):
    """The file an order was read from: its name and fingerprint, not its content."""

    org = models.ForeignKey(
        Org, on_delete=models.PROTECT, related_name="source_documents", verbose_name="organisation"
    )
    file_name = models.CharField(max_length=255)
    sha256 = models.CharField("SHA-256", max_length=64, validators=[sha256_hex])
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "source_document"
        constraints = [
            models.UniqueConstraint(
                fields=["org", "sha256", "file_name"], name="source_document_once"
            )
        ]

    def __str__(self) -> str:
        return self.file_name


class _Status(models.TextChoices):
    NEEDS_REVIEW = "NEEDS_REVIEW", "needs review"
    READY = "READY", "ready"
    APPROVED = "APPROVED", "approved"
    PUSHING = "PUSHING", "pushing"
    PUSHED = "PUSHED", "pushed"
    ERROR = "ERROR", "error"
    REJECTED = "REJECTED", "rejected"


# Something is still to be done with these.
_OPEN = (
    _Status.NEEDS_REVIEW,
    _Status.READY,
    _Status.APPROVED,
    _Status.PUSHING,
    _Status.ERROR,
)


class DraftOrder(UuidModel):
    Status: TypeAlias = _Status

    OPEN = _OPEN
    EDITABLE = (Status.NEEDS_REVIEW, Status.READY, Status.APPROVED, Status.ERROR)

    org = models.ForeignKey(
        Org, on_delete=models.PROTECT, related_name="draft_orders", verbose_name="organisation"
    )
    customer = models.ForeignKey(
        Customer,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="draft_orders",
        db_index=False,
    )
    customer_name = models.CharField(
        max_length=300,
        blank=True,
        help_text="The customer's name in this order, if it differs from the stored name.",
    )
    source_document = models.ForeignKey(
        SourceDocument,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="draft_orders",
    )
    external_order_number = models.CharField(
        max_length=100, blank=True, help_text="The customer's own number of this order."
    )
    order_date = models.DateField(null=True, blank=True)
    currency = models.CharField(max_length=3, blank=True, validators=[currency_code])
    requested_delivery_date = models.DateField(null=True, blank=True)
    notes = models.TextField(blank=True, max_length=10_000)
    status = models.CharField(
        max_length=20,
        choices=Status,
        default=Status.NEEDS_REVIEW,
        db_default=Status.NEEDS_REVIEW,
        editable=False,
    )
    approved_by = models.ForeignKey(
        User, on_delete=models.PROTECT, null=True, related_name="+", editable=False
    )
    approved_at = models.DateTimeField(null=True, editable=False)
    approved_hash = models.CharField(max_length=64, blank=True, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "draft_order"
        verbose_name = "order"
        ordering = ["-created_at", "-id"]
        permissions = [
            ("approve_draftorder", "Can approve and reject draft orders"),
            ("push_draftorder", "Can push approved draft orders"),
        ]
        indexes = [
            models.Index(
                fields=["org", "status", "-created_at"], name="idx_draft_order_org_status"
            ),
            models.Index(fields=["org", "-created_at", "-id"], name="idx_draft_order_org_created"),
            models.Index(fields=["org", "updated_at", "id"], name="idx_draft_order_org_updated"),
            models.Index(
                fields=["org", "customer", "external_order_number"],
                name="idx_draft_order_number",
            ),
            # Finds numbers by how they begin, too.
            models.Index(
                fields=["org", "external_order_number"],
                opclasses=["uuid_ops", "varchar_pattern_ops"],
                name="idx_draft_order_org_number",
            ),
            models.Index(
                fields=["customer", "-created_at", "-id"], name="idx_draft_order_customer"
            ),
            # For those who see the orders of all orgs.
            models.Index(fields=["-created_at", "-id"], name="idx_draft_order_created"),
            models.Index(
                fields=["status", "-created_at", "-id"],
                condition=Q(status__in=_OPEN),
                name="idx_draft_order_open",
            ),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(status__in=list(_Status)),
                name="draft_order_status_legal",
            ),
            models.CheckConstraint(
                # Not PUSHED: the ERP can accept late what was sent of an order that was edited
                # since. The export keeps the approval of what was sent.
                condition=~Q(status__in=[_Status.APPROVED, _Status.PUSHING])
                | Q(approved_by__isnull=False, approved_at__isnull=False, approved_hash__gt=""),
                name="draft_order_approved_by_someone",
            ),
        ]

    def __str__(self) -> str:
        return self.external_order_number or str(self.id)[:8]

    @cached_property
    def line_count(self) -> int:
        return self.lines.count()

    @property
    def name_of_customer(self) -> str:
        """The customer's name as the export will have it."""
        return self.customer_name or (self.customer.name if self.customer else "")


class DraftOrderLine(models.Model):
    order = models.ForeignKey(DraftOrder, on_delete=models.CASCADE, related_name="lines")
    line_no = models.PositiveIntegerField(validators=[MinValueValidator(1)])
    internal_sku = models.CharField("internal SKU", max_length=100, blank=True)
    qty = models.DecimalField("quantity", max_digits=15, decimal_places=6)
    uom = models.CharField("unit of measure", max_length=20, blank=True)
    unit_price = models.DecimalField(max_digits=15, decimal_places=6, null=True, blank=True)
    currency = models.CharField(
        max_length=3, blank=True, validators=[currency_code], help_text="Empty: the order's."
    )
    customer_sku_raw = models.CharField("customer's SKU", max_length=200, blank=True)
    description = models.CharField(max_length=1000, blank=True)

    class Meta:
        db_table = "draft_order_line"
        ordering = ["line_no"]
        constraints = [
            models.UniqueConstraint(
                fields=["order", "line_no"],
                name="draft_order_line_no_unique",
                violation_error_message="Two lines of an order have the same number.",
            )
        ]

    def __str__(self) -> str:
        return f"line {self.line_no}"

"""Organisations, their members, API tokens, the audit log, and counts of attempts."""

import uuid
from typing import Final

from django.contrib.auth.models import AbstractUser
from django.core.serializers.json import DjangoJSONEncoder
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q

from kernel.db import Now
from kernel.models import UuidModel

SHORTEST_RETENTION = 30


class User(AbstractUser):
    """A person, or the service account of another system."""

    class Meta(AbstractUser.Meta):
        db_table = "orderflow_user"

    @property
    def contact(self) -> str:
        """How documents and histories name this user: the e-mail address, else the user name."""
        return self.email or self.username


def _retention(what: str) -> "models.PositiveIntegerField[int | None, int | None]":
    # Less would take away what the dashboard counts and what is still asked about.
    return models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(SHORTEST_RETENTION)],
        help_text=f"{what} Empty: kept forever.",
    )


class Org(UuidModel):
    """A company whose orders are exported. Nothing crosses from one org to another."""

    name = models.CharField(max_length=200)
    slug = models.SlugField(
        max_length=63, unique=True, help_text="Part of every exported file, as org_slug."
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    # For how many days what is finished is kept; without a number, for ever.
    keep_payloads_days = _retention("Files of exports in the database.")
    keep_archive_days = _retention(
        "Files of exports in the archive. They are then removed from the database too."
    )
    keep_events_days = _retention("Timelines of exports.")
    keep_acks_days = _retention("Contents of acks.")

    users = models.ManyToManyField(User, through="Membership", related_name="orgs")

    class Meta:
        db_table = "org"
        ordering = ["name"]
        verbose_name = "organisation"
        constraints = [
            models.CheckConstraint(
                condition=Q(**{f"{name}__gte": SHORTEST_RETENTION}) | Q(**{name: None}),
                name=f"org_{name}_not_too_short",
            )
            for name in (
                "keep_payloads_days",
                "keep_archive_days",
                "keep_events_days",
                "keep_acks_days",
            )
        ]

    def __str__(self) -> str:
        return self.name


class Membership(models.Model):
    """Lets a user see an org. What the user may do there are Django permissions."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    org = models.ForeignKey(
        Org, on_delete=models.PROTECT, related_name="memberships", verbose_name="organisation"
    )
    gets_mail = models.BooleanField(
        "gets mail",
        default=True,
        db_default=True,
        help_text="Mails about what needs attention, if the user may see it and has an address.",
    )

    class Meta:
        db_table = "membership"
        constraints = [
            models.UniqueConstraint(fields=["user", "org"], name="membership_user_org_unique")
        ]

    def __str__(self) -> str:
        return f"{self.user} in {self.org}"


class ApiToken(models.Model):
    """A bearer token: acts as its user, within one org. Only the SHA-256 of the token is kept."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="api_tokens")
    org = models.ForeignKey(
        Org, on_delete=models.PROTECT, related_name="api_tokens", verbose_name="organisation"
    )
    name = models.CharField(max_length=100, help_text="Which system uses this token.")
    prefix = models.CharField(max_length=12, editable=False)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    expires_at = models.DateTimeField()
    last_used_at = models.DateTimeField(null=True, editable=False)
    revoked_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        db_table = "api_token"
        ordering = ["-created_at"]
        verbose_name = "API token"

    def __str__(self) -> str:
        return f"{self.prefix}… ({self.name})"


# Actions that former releases have recorded under another code. Entries are never rewritten.
FORMER_ACTIONS: Final = {"export.settled": "export.resolved", "ack.taken": "ack.accepted"}


class AuditEntry(models.Model):
    """What somebody did, as `accounts.audit` has recorded it. The database refuses to change it.

    `object_type` is a model, like "orders.draftorder". The names are those of that time. `before`
    and `after` say what else was changed; secrets are masked.
    """

    id = models.BigAutoField(primary_key=True)
    at = models.DateTimeField(db_default=Now(), verbose_name="time")
    org = models.ForeignKey(
        Org, on_delete=models.PROTECT, null=True, related_name="+", db_index=False
    )
    actor = models.ForeignKey(
        User, on_delete=models.PROTECT, null=True, related_name="+", db_index=False
    )
    actor_name = models.TextField(blank=True, verbose_name="by")
    address = models.TextField(blank=True)
    request_id = models.TextField(blank=True, verbose_name="request id")
    action = models.TextField()
    object_type = models.TextField(blank=True)
    object_id = models.TextField(blank=True)
    object_label = models.TextField(blank=True)
    before = models.JSONField(encoder=DjangoJSONEncoder, default=dict)
    after = models.JSONField(encoder=DjangoJSONEncoder, default=dict)

    class Meta:
        db_table = "audit_entry"
        verbose_name_plural = "audit entries"
        ordering = ["-at", "-id"]
        default_permissions = ("view",)
        indexes = [
            models.Index(fields=["-at", "-id"], name="idx_audit_entry_at"),
            models.Index(fields=["org", "-at", "-id"], name="idx_audit_entry_org"),
            models.Index(fields=["object_id", "-at", "-id"], name="idx_audit_entry_object"),
        ]

    def __str__(self) -> str:
        return f"{self.present_action} {self.object_label}".strip()

    @property
    def present_action(self) -> str:
        """What the action is called now."""
        return FORMER_ACTIONS.get(self.action, self.action)


class IdempotencyKey(models.Model):
    """The response to a request that its client may repeat: sent again, nothing is done twice."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    org = models.ForeignKey(Org, on_delete=models.CASCADE, related_name="+")
    key = models.CharField(max_length=255)
    request_sha256 = models.CharField(max_length=64)
    created_at = models.DateTimeField(db_default=Now())

    # What was answered: the status, some of the headers, and the body as it was sent.
    status = models.PositiveSmallIntegerField(null=True)
    headers = models.JSONField(default=dict)
    body = models.TextField()

    class Meta:
        db_table = "idempotency_key"
        indexes = [models.Index(fields=["created_at"], name="idx_idempotency_key_created")]
        constraints = [
            models.UniqueConstraint(fields=["org", "key"], name="idempotency_key_org_key_unique")
        ]

    def __str__(self) -> str:
        return self.key


class RateWindow(models.Model):
    """How often something was done since its window opened; `accounts.throttling` counts here."""

    key = models.CharField(primary_key=True, max_length=64)
    count = models.IntegerField()
    ends_at = models.BigIntegerField(db_index=True, help_text="Unix time, by the database's clock.")

    class Meta:
        db_table = "rate_window"
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.key[:8]}…: {self.count}"

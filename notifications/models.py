"""Webhooks and the outbox: what happened, and which messages are due to whom."""

import uuid
from datetime import timedelta

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import Q

from accounts.models import Org, User
from connectors.fields import EncryptedConfigField
from connectors.secrets import Secret
from kernel.db import Now, db_now
from kernel.models import UuidModel


class EventType(models.TextChoices):
    """The names are a contract with receivers: they never change."""

    EXPORT_SENT = "export.sent", "export sent"
    EXPORT_ACKED = "export.acked", "export acknowledged by the ERP"
    EXPORT_FAILED = "export.failed", "export failed"
    EXPORT_OVERDUE = "export.overdue", "ack overdue"
    ACK_CONFLICT = "ack.conflict", "ack contradicts an earlier one"
    CONNECTION_PAUSED = "connection.paused", "connection paused"
    CONNECTION_RECOVERED = "connection.recovered", "connection works again"
    # Not to be chosen: one is asked for, the other tells of the webhook itself.
    WEBHOOK_TEST = "webhook.test", "test of the webhook"
    WEBHOOK_DISABLED = "webhook.disabled", "webhook disabled"


class Webhook(UuidModel):
    """Where an org wants to be told by HTTP, and how that is going."""

    CHOOSABLE = tuple(t for t in EventType if not t.value.startswith("webhook."))
    # A receiver has so long to learn a new secret: until then the former one signs as well.
    FORMER_SECRET_SIGNS_FOR = timedelta(hours=24)

    org = models.OneToOneField(
        Org, on_delete=models.PROTECT, related_name="webhook", verbose_name="organisation"
    )
    url = models.CharField("URL", max_length=1000)
    event_types = models.JSONField("events", default=list)
    active = models.BooleanField(default=True, db_default=True)
    # {"secrets": [the present one, perhaps the former one]}
    config_encrypted = EncryptedConfigField(editable=False)
    secret_set_at = models.DateTimeField(editable=False)
    secret_set_by = models.ForeignKey(
        User, on_delete=models.PROTECT, null=True, related_name="+", editable=False
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(db_default=Now(), editable=False)

    # Since the last success, and when to try again.
    failures = models.PositiveIntegerField(db_default=0, default=0, editable=False)
    failing_since = models.DateTimeField(null=True, editable=False)
    retry_at = models.DateTimeField(null=True, editable=False)
    last_error = models.TextField(blank=True, editable=False)
    # When the system has disabled it, and why.
    disabled_at = models.DateTimeField(null=True, editable=False)
    disabled_reason = models.TextField(blank=True, editable=False)

    class Meta:
        db_table = "webhook"
        constraints = [
            models.CheckConstraint(
                condition=Q(disabled_at=None, disabled_reason="")
                | Q(disabled_at__isnull=False, active=False) & ~Q(disabled_reason=""),
                name="webhook_disabled_for_a_reason",
            )
        ]

    def __str__(self) -> str:
        return f"Webhook of {self.org}"

    def seal(self, *secrets: Secret) -> None:
        """Encrypt the secrets for this row; saving is up to the caller."""
        field = self._meta.get_field("config_encrypted")
        assert isinstance(field, EncryptedConfigField)
        texts = [secret.reveal() for secret in secrets]
        self.config_encrypted = field.seal({"secrets": texts}, owner=self.id)

    @property
    def secrets(self) -> list[Secret]:
        """The secrets to sign with, the present one first. Raises ConnectorError."""
        secrets = [Secret(text) for text in self.config_encrypted.open(owner=self.id)["secrets"]]
        is_new = self.secret_set_at > db_now() - self.FORMER_SECRET_SIGNS_FOR
        return secrets if is_new else secrets[:1]


class Notification(models.Model):
    """The outbox: written with what happened, in one transaction; then told, at least once.

    `webhook_due_at` and `mail_due_at` are null where nothing is to be done, or no more. While a
    worker is at it they lie ahead: should it be killed, another one takes over then.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    org = models.ForeignKey(
        Org, on_delete=models.PROTECT, related_name="notifications", db_index=False
    )
    event_type = models.CharField("event", max_length=40, choices=EventType)
    created_at = models.DateTimeField()
    data = models.JSONField(encoder=DjangoJSONEncoder)

    webhook_due_at = models.DateTimeField("next attempt at", null=True)
    attempts = models.PositiveIntegerField(db_default=0, default=0)
    delivered_at = models.DateTimeField(null=True)

    mail_due_at = models.DateTimeField(null=True)
    mailed_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "notification"
        ordering = ["-created_at", "-id"]
        permissions = [
            ("redeliver_notification", "Can deliver notifications again"),
            ("receive_mail", "Gets mail about what needs a person"),
        ]
        indexes = [
            models.Index(fields=["org", "-created_at", "-id"], name="idx_notification_org_created"),
            models.Index(fields=["created_at"], name="idx_notification_created"),
            models.Index(
                fields=["org", "webhook_due_at"],
                condition=Q(webhook_due_at__isnull=False),
                name="idx_notification_webhook_due",
            ),
            models.Index(
                fields=["org", "mail_due_at"],
                condition=Q(mail_due_at__isnull=False),
                name="idx_notification_mail_due",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.event_type} {self.message_id}"

    @property
    def message_id(self) -> str:
        """The webhook-id: the same in each attempt, so that receivers notice repetitions."""
        return f"msg_{self.id.hex}"


class WebhookAttempt(models.Model):
    """One request to a receiver, and what came back. `error` is empty after a success."""

    notification = models.ForeignKey(
        Notification, on_delete=models.CASCADE, related_name="webhook_attempts"
    )
    at = models.DateTimeField()
    url = models.TextField("URL")
    status = models.PositiveSmallIntegerField(null=True)
    milliseconds = models.PositiveIntegerField()
    error = models.TextField(blank=True)
    response = models.TextField(blank=True)

    class Meta:
        db_table = "webhook_attempt"
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M:%S}: {self.error or self.status}"

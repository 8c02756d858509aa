import uuid

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import kernel.db


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0001_initial"),
        ("exports", "0008_settling"),
        ("orders", "0001_initial"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Batch",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        db_default=kernel.db.RandomUUID(),
                        default=uuid.uuid4,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                (
                    "action",
                    models.CharField(
                        choices=[
                            ("approve", "approve"),
                            ("push", "push"),
                            ("retry", "retry"),
                            ("reject", "reject"),
                        ],
                        max_length=20,
                    ),
                ),
                ("confirm_warnings", models.BooleanField(db_default=False, default=False)),
                ("created_at", models.DateTimeField(db_default=kernel.db.Now())),
                ("started_at", models.DateTimeField(null=True)),
                ("finished_at", models.DateTimeField(null=True)),
                ("cancelled_at", models.DateTimeField(null=True)),
                ("lease_until", models.DateTimeField(null=True)),
                ("rung_at", models.DateTimeField(null=True)),
                (
                    "cancelled_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "org",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="batches",
                        to="accounts.org",
                    ),
                ),
                (
                    "requested_by",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "batches",
                "db_table": "batch",
                "ordering": ["-created_at", "-id"],
            },
        ),
        migrations.CreateModel(
            name="BatchItem",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "outcome",
                    models.CharField(
                        choices=[
                            ("WAITING", "waiting"),
                            ("DONE", "done"),
                            ("REFUSED", "refused"),
                            ("FAILED", "failed"),
                            ("CANCELLED", "cancelled"),
                        ],
                        db_default="WAITING",
                        default="WAITING",
                        max_length=20,
                    ),
                ),
                ("code", models.CharField(blank=True, db_default="", max_length=50)),
                ("message", models.TextField(blank=True, db_default="")),
                ("finished_at", models.DateTimeField(null=True)),
                (
                    "batch",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="items",
                        to="exports.batch",
                    ),
                ),
                (
                    "draft_order",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="batch_items",
                        to="orders.draftorder",
                    ),
                ),
                (
                    "export",
                    models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="exports.erpexport",
                    ),
                ),
            ],
            options={
                "db_table": "batch_item",
                "ordering": ["id"],
            },
        ),
        migrations.AddIndex(
            model_name="batch",
            index=models.Index(fields=["org", "-created_at", "-id"], name="idx_batch_org_created"),
        ),
        migrations.AddIndex(
            model_name="batch",
            index=models.Index(
                condition=models.Q(("finished_at", None)),
                fields=["created_at"],
                name="idx_batch_unfinished",
            ),
        ),
        migrations.AddConstraint(
            model_name="batch",
            constraint=models.CheckConstraint(
                condition=models.Q(("action__in", ["approve", "push", "retry", "reject"])),
                name="batch_action_legal",
            ),
        ),
        migrations.AddConstraint(
            model_name="batch",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("cancelled_at", None), ("cancelled_by", None)),
                    models.Q(
                        ("cancelled_at__isnull", False),
                        ("cancelled_by__isnull", False),
                        ("finished_at__isnull", False),
                    ),
                    _connector="OR",
                ),
                name="batch_cancelled_by_someone",
            ),
        ),
        migrations.AddIndex(
            model_name="batchitem",
            index=models.Index(fields=["batch", "outcome", "id"], name="idx_batch_item_outcome"),
        ),
        migrations.AddConstraint(
            model_name="batchitem",
            constraint=models.UniqueConstraint(
                fields=("batch", "draft_order"), name="batch_item_order_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="batchitem",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("finished_at", None), ("outcome", "WAITING")),
                    models.Q(
                        ("finished_at__isnull", False),
                        ("outcome__in", ["DONE", "REFUSED", "FAILED", "CANCELLED"]),
                    ),
                    _connector="OR",
                ),
                name="batch_item_outcome_legal",
            ),
        ),
    ]

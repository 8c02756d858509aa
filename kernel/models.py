"""The base of models whose key is a UUID that the program or the database makes."""

import uuid

from django.db import models

from kernel.db import RandomUUID


class UuidModel(models.Model):
    id = models.UUIDField(
        primary_key=True, default=uuid.uuid4, db_default=RandomUUID(), editable=False
    )

    class Meta:
        abstract = True

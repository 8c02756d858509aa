"""The installation that may deliver from this database."""

from django.db import models
from django.db.models import Q

from kernel.db import Now


class DeliveryInstance(models.Model):
    """The one installation that delivers from this database; connectors.ownership has the rules."""

    ONLY = 1

    id = models.PositiveSmallIntegerField(primary_key=True, default=ONLY)
    name = models.TextField()
    # Which database it was when it was claimed.
    database = models.TextField()
    claimed_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "delivery_instance"
        default_permissions = ()
        constraints = [
            models.CheckConstraint(condition=Q(id=1), name="delivery_instance_only_one"),
        ]

    def __str__(self) -> str:
        return self.name

"""The Django app of connections: it loads the checks and claims a new database."""

from typing import Any

from django.apps import AppConfig
from django.apps import apps as all_apps
from django.db.models.signals import post_migrate


class ConnectorsConfig(AppConfig):
    name = "connectors"
    verbose_name = "Connections"

    def ready(self) -> None:
        from connectors import checks  # noqa: F401  registers the system checks

        post_migrate.connect(_claim_new, sender=self)


def _claim_new(apps: Any = all_apps, **kwargs: Any) -> None:
    from connectors import ownership

    # After a migration backwards there may be no such table.
    if "deliveryinstance" in apps.all_models["connectors"]:
        ownership.claim_new()

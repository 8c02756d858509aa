from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class ExportsConfig(AppConfig):
    name = "exports"
    verbose_name = "Exports"

    def ready(self) -> None:
        from exports import checks  # noqa: F401  registers the system checks

        post_migrate.connect(_create_schedules, sender=self)


def _create_schedules(**kwargs: Any) -> None:
    from worker.schedules import create_schedules

    create_schedules()

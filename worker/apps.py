"""The app of what runs: Django finds its commands by it; it makes the schedules."""

from typing import Any

from django.apps import AppConfig
from django.apps import apps as all_apps
from django.db.models.signals import post_migrate


class WorkerConfig(AppConfig):
    name = "worker"

    def ready(self) -> None:
        # Django sends the signal for apps with models: the schedules are rows of django-q2's.
        post_migrate.connect(_create_schedules, sender=all_apps.get_app_config("django_q"))


def _create_schedules(**kwargs: Any) -> None:
    from worker.schedules import create_schedules

    create_schedules()

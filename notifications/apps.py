"""The app of webhooks and mail; it loads the checks and listens to connections."""

from django.apps import AppConfig


class NotificationsConfig(AppConfig):
    name = "notifications"

    def ready(self) -> None:
        from notifications import checks, connections  # noqa: F401  they register themselves

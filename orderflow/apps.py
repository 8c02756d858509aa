"""The admin site of the project, and its checks."""

from django.contrib.admin.apps import AdminConfig


class OrderflowAdminConfig(AdminConfig):
    default_site = "backoffice.site.OrderflowAdminSite"

    def ready(self) -> None:
        from orderflow import checks  # noqa: F401  registers the system checks

        super().ready()

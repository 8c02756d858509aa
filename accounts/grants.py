"""Permissions of groups, granted by a migration operation."""

from collections.abc import Iterable, Iterator
from typing import Any

from django.apps.registry import Apps
from django.contrib.auth.management import create_permissions
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations import RunPython


def grant(group: str, *permissions: str) -> RunPython:
    """A migration operation: the group gets permissions such as `exports.cancel_erpexport`."""

    def forwards(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
        for label in {permission.partition(".")[0] for permission in permissions}:
            # Permissions are made when all migrations are done; the group needs them now.
            config = apps.get_app_config(label)
            config.models_module = True  # type: ignore[assignment]  # any true value will do
            create_permissions(config, apps=apps, verbosity=0)
            config.models_module = None
        for found in _groups(apps):
            found.permissions.add(*_permissions(apps))

    def backwards(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
        for found in _groups(apps):
            found.permissions.remove(*_permissions(apps))

    def _groups(apps: Apps) -> Iterable[Any]:
        # None, if somebody has deleted it: the bundles are an offer.
        return apps.get_model("auth", "Group").objects.filter(name=group)

    def _permissions(apps: Apps) -> Iterator[Any]:
        for permission in permissions:
            label, _, code = permission.partition(".")
            yield apps.get_model("auth", "Permission").objects.get(
                content_type__app_label=label, codename=code
            )

    return RunPython(forwards, backwards)

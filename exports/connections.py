"""Changes of a connection that its exports can forbid."""

from collections.abc import Collection, Mapping
from typing import Any

from django.db import transaction

from accounts.models import User
from connectors import configuring
from connectors.models import ErpConnection
from connectors.port import Destination
from exports.models import ErpExport

# A few names are enough to say why a change is refused.
_HOLDERS_NAMED = 5


def change_config(
    connection: ErpConnection,
    config: Mapping[str, Any],
    *,
    actor: User | None = None,
    clear: Collection[str] = (),
) -> None:
    """Replace the configuration; its dropzone stays the same while exports are staged there.

    Raises ConfigError; then nothing is changed. For secrets see connectors.configuring.
    """
    with transaction.atomic():
        # A claim takes the same lock: nothing is staged between the look and the change.
        ErpConnection.objects.select_for_update().get(id=connection.id)
        staged = ErpExport.objects.filter(
            erp_connection=connection,
            status=ErpExport.Status.PENDING,
            staged_path__isnull=False,
        ).order_by("created_at")
        holders = {
            filename: Destination.from_json(destination)
            for filename, destination in staged.values_list("filename", "destination")[
                :_HOLDERS_NAMED
            ]
            if destination
        }
        configuring.change_config(connection, config, actor=actor, clear=clear, holders=holders)

"""The tables of connections, of their tests, and of the installation that may deliver."""

from connectors.models.connection import BY_PERSON, NEVER_TESTED, ErpConnection
from connectors.models.connection_test import ConnectionTest
from connectors.models.instance import DeliveryInstance

__all__ = [
    "BY_PERSON",
    "NEVER_TESTED",
    "ConnectionTest",
    "DeliveryInstance",
    "ErpConnection",
]

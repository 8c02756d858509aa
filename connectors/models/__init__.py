"""The tables of connections, of their tests, and of the installation that may deliver."""

from connectors.models.configuration import CONFIGURATION
from connectors.models.connection import ErpConnection
from connectors.models.connection_test import ConnectionTest
from connectors.models.instance import DeliveryInstance
from connectors.models.state import BY_PERSON, NEVER_TESTED

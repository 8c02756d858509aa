"""The service's own settings, with URLs for the views that the others are compared with."""

from orderflow.settings import *  # noqa: F403

ROOT_URLCONF = "bench.bare"

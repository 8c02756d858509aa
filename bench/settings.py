"""The service's settings, with the URLs of the bare views for comparison."""

from orderflow.settings import *  # noqa: F403

ROOT_URLCONF = "bench.bare"

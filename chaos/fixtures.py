"""What the fork server loads once, so that a new worker costs milliseconds and not a second."""

import importlib

import django

django.setup()
importlib.import_module("chaos.crew")

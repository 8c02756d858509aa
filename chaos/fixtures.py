"""Modules that the fork server loads once: a new worker starts in milliseconds, not in a second."""

import importlib

import django

django.setup()
importlib.import_module("chaos.crew")

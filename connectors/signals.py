"""Signals of connections to the apps above, within the transaction of the change.

Each comes with the row as `connection`: with the pause that has begun, or with the one that has
just ended. An error of a receiver takes the change back.
"""

from django.dispatch import Signal

paused = Signal()
recovered = Signal()

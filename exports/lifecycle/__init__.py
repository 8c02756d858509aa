"""The lifecycle of exports: a table of all legal changes, and the one function that makes them."""

from exports.lifecycle.changes import apply, create, ids_of, lock_exports, note
from exports.lifecycle.transitions import (
    STAGED,
    TO_CLEAN_UP,
    TRANSITIONS,
    UNSTAGED,
    Columns,
    Event,
    Transition,
    allows,
    eligible_for,
    legal_steps,
)

"""Chaos: deliver orders while everything breaks, then check that nothing was lost or doubled.

`make chaos`, or `python -m chaos`, with the settings of `chaos/plan.py` in the environment.
"""

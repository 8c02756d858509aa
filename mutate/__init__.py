"""Break the service on purpose, one small change at a time, and see whether a test fails.

CONTRIBUTING.md says when to run it. `plan.toml` says what is changed and which tests are its own.
"""

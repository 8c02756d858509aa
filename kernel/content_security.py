"""The Content-Security-Policy of every response."""

from typing import Final

# No inline script or style, nothing from elsewhere, and no page of ours in a frame.
CONTENT_SECURITY_POLICY: Final = (
    "default-src 'self'; base-uri 'none'; object-src 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)

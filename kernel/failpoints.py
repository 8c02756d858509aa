"""Named places where a test lets this process die, freeze or fail; in production they do nothing.

ORDERFLOW_FAILPOINT is `name` for a SIGKILL there, as by a power loss, `name:stop` for a SIGSTOP, or
`name:raise` for an exception.
"""

import os
import signal

_NAME, _, _ACTION = os.environ.get("ORDERFLOW_FAILPOINT", "").partition(":")
_SIGNALS = {"": signal.SIGKILL, "stop": signal.SIGSTOP}


def failpoint(name: str) -> None:
    """Let happen here what the environment says, if it names this place."""
    if name != _NAME:
        return
    if _ACTION == "raise":
        raise RuntimeError(f"failpoint {name}")
    os.kill(os.getpid(), _SIGNALS[_ACTION])

"""Named places where a test can kill, freeze or fail this process; without effect in production.

ORDERFLOW_FAILPOINT is `name` for a SIGKILL there, as by a power loss, `name:stop` for a SIGSTOP, or
`name:raise` for an exception.
"""

import os
import signal

_NAME, _, _ACTION = os.environ.get("ORDERFLOW_FAILPOINT", "").partition(":")
_SIGNALS = {"": signal.SIGKILL, "stop": signal.SIGSTOP}


def failpoint(name: str) -> None:
    """Do what the environment asks for at this place."""
    if name != _NAME:
        return
    if _ACTION == "raise":
        raise RuntimeError(f"failpoint {name}")
    os.kill(os.getpid(), _SIGNALS[_ACTION])

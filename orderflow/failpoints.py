"""Named places where a test lets the process die. Without ORDERFLOW_FAILPOINT they do nothing."""

import os
import signal

_armed = os.environ.get("ORDERFLOW_FAILPOINT", "")


def failpoint(name: str) -> None:
    """Kill this process, as a power loss would, if the environment names this place."""
    if _armed == name:
        os.kill(os.getpid(), signal.SIGKILL)

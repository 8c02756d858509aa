"""The plan of a run, read from the environment."""

import os
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

MODES = ("posix", "plain", "filesystem")


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """One run: it ends after `orders` sent orders and `kills` kills, or after `seconds`.

    `chance`: the probability of a fault at each moment of chaos/faults.py.
    `at`: the only such moment, for example "published"; empty: all moments.
    `protocol`: "delivery" is the service's own, "obvious" the wrong one of chaos/obvious.py.
    `is_soak`: one worker without faults of its own delivers all orders.
    `is_disk_filled`: the dropzone is on a small tmpfs, which is full at times; needs root.
    """

    mode: str
    orders: int = 300
    kills: int = 300
    workers: int = 3
    seed: int = 0
    seconds: float = 900
    chance: float = 0.04
    at: str = ""
    protocol: str = "delivery"
    is_disk_filled: bool = False
    is_soak: bool = False


def plans(environ: Mapping[str, str] = os.environ) -> Iterator[Plan]:
    """Yield the plan of MODE, or one for each mode. Raises ValueError for an unknown value."""
    chosen = environ.get("MODE") or "all"
    if chosen not in (*MODES, "all"):
        raise ValueError(f"MODE is one of {', '.join(MODES)}")
    protocol = environ.get("PROTOCOL") or "delivery"
    if protocol not in ("delivery", "obvious"):
        raise ValueError("PROTOCOL is delivery or obvious")
    is_soak = environ.get("SOAK") == "1"
    everything = ("posix",) if is_soak else MODES
    for mode in everything if chosen == "all" else (chosen,):
        yield Plan(
            mode=mode,
            orders=int(environ.get("ORDERS") or (10_000 if is_soak else 300)),
            kills=0 if is_soak else int(environ.get("KILLS") or 300),
            workers=1 if is_soak else int(environ.get("WORKERS") or 3),
            seed=int(environ.get("SEED") or random.randrange(1_000_000)),
            seconds=float(environ.get("SECONDS") or (3600 if is_soak else 900)),
            chance=float(environ.get("CHANCE") or 0.04),
            at=environ.get("AT", ""),
            protocol=protocol,
            is_disk_filled=environ.get("DISK_FULL") == "1",
            is_soak=is_soak,
        )

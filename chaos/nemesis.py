"""The nemesis: it injects faults into the network, the server, the database and the disk."""

import random
import time
from collections import Counter
from collections.abc import Callable

import psycopg

from chaos.plan import Plan
from chaos.site import Site
from tests.support.servers import Postgres, TcpProxy

_LONGEST = 1.5
_PAUSE = 0.6  # seconds between two faults, on average


class Nemesis:
    """Call `step()` often: it begins faults at random times and ends each one in time.

    It has no thread of its own, because a server ends with the thread that started it. `injected`
    counts the faults by name.
    """

    def __init__(self, plan: Plan, site: Site, postgres: Postgres) -> None:
        self._chance = random.Random(plan.seed + 1)
        self._site = site
        self._postgres = postgres
        self._next = time.monotonic()
        self._ends_at: float | None = None
        self.injected: Counter[str] = Counter()
        kinds = {self._terminate: 4.0, self._restart_database: 0.5}
        if site.proxy:
            kinds |= {self._reset: 3, self._cut: 4, self._stall: 4, self._refuse: 1}
        if site.server and plan.mode == "posix":
            # Not in mode plain, where the server renames by link and unlink. If it dies between
            # the two and the ERP takes the file at once, the file is doubled, whatever clients do.
            kinds[self._restart_server] = 1
        if site.ballast:
            kinds[self._fill] = 2
        self._kinds: dict[Callable[[], None], float] = kinds

    def step(self) -> None:
        now = time.monotonic()
        if self._ends_at is not None and now >= self._ends_at:
            self.clear()
        if self._ends_at is None and now >= self._next:
            (kind,) = self._chance.choices(list(self._kinds), list(self._kinds.values()))
            self.injected[kind.__name__.strip("_")] += 1
            kind()
            self._next = now + self._chance.expovariate(1 / _PAUSE)

    def clear(self) -> None:
        """End the current fault."""
        self._ends_at = None
        if self._site.proxy:
            self._site.proxy.resume()
        self._site.free_disk()

    def _last(self, longest: float = _LONGEST) -> None:
        self._ends_at = time.monotonic() + self._chance.uniform(0, longest)

    @property
    def _proxy(self) -> TcpProxy:
        assert self._site.proxy is not None
        return self._site.proxy

    def _some_bytes(self) -> int:
        """A number of bytes before, in or after a login, which has about 5,000 bytes each way."""
        return self._chance.choice(
            (0, self._chance.randrange(8_000), self._chance.randrange(99_999))
        )

    def _reset(self) -> None:
        self._proxy.reset()

    def _cut(self) -> None:
        way = self._chance.choice(("to_client", "to_server", "both"))
        self._proxy.cut(way, after=self._some_bytes(), rst=self._chance.random() < 0.5)
        self._last()

    def _stall(self) -> None:
        way = self._chance.choice(("to_client", "to_server", "both"))
        self._proxy.stall(way, after=self._some_bytes())
        self._last()

    def _refuse(self) -> None:
        self._proxy.refuse()
        self._last(0.5)

    def _restart_server(self) -> None:
        assert self._site.server is not None
        self._site.server.restart()

    def _terminate(self) -> None:
        """End some sessions of the database, whatever they are doing."""
        with psycopg.connect(self._postgres.url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                " ORDER BY random() LIMIT %s",
                [self._chance.randint(1, 3)],
            )

    def _restart_database(self) -> None:
        self._postgres.stop()
        time.sleep(self._chance.uniform(0, 0.5))
        self._postgres.start()

    def _fill(self) -> None:
        self._site.fill_disk(self._chance)
        self._last()

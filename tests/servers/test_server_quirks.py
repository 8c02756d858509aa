"""Random combinations of server errors: each order reaches the ERP once.

Over the real SFTP adapter, through a proxy to the server in this process. `make explore` looks for
new combinations.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from connectors import circuit_breaker
from connectors.dropzone.connector import pool
from connectors.models import ErpConnection
from exports.acks.poller import poll
from exports.delivery import cleanup
from exports.delivery.protocol import deliver
from exports.models import ErpExport
from kernel.db import db_now
from tests.support.builders import a_connection, a_user, an_org, some_exports
from tests.support.dropzones import Dropzone, dropzone_of
from tests.support.erp import Erp
from tests.support.invariants import assert_kept
from tests.support.servers import AsyncSSHServer, Faults, TcpProxy

pytestmark = pytest.mark.django_db(transaction=True)

# A login is some 4,000 bytes in each direction; an export that is written, some 1,000 more.
BYTES = st.integers(0, 10_000)
# What the server shows when it has another.
EXTENSIONS = ("fsync@openssh.com", "posix-rename@openssh.com", "statvfs@openssh.com")

FAULTS: dict[str, st.SearchStrategy[Any]] = {
    "only": st.sampled_from(["", ".tmp", ".json", "acks"]),
    "disk_full_after": st.integers(0, 1000),
    "lose_after": st.integers(0, 1000),
    "change_bytes": st.just(lambda data: data.replace(b",", b",\r\n")),
    "refuse_rename": st.just(True),
    "drop_at_rename": st.sampled_from(["before", "after"]),
    "no_sizes": st.just(True),
    "dismiss_at": st.sampled_from(["begin_auth", "password", "auth_completed", "session"]),
}


@dataclass(frozen=True, slots=True)
class Network:
    """What the proxy does: `rule` is a name of its methods."""

    rule: str = "resume"
    direction: str = "both"
    after: int = 0
    rst: bool = False

    def apply(self, proxy: Any) -> None:
        match self.rule:
            case "cut":
                proxy.cut(self.direction, after=self.after, rst=self.rst)
            case "stall":
                proxy.stall(self.direction, after=self.after)
            case _:
                getattr(proxy, self.rule)()


@dataclass(frozen=True, slots=True)
class Round:
    """A delivery and a poll on a bad day. `away`: the folder that is not there meanwhile."""

    exports: int
    faults: dict[str, Any]
    network: Network
    away: str
    is_eager: bool
    acks: int


networks = st.builds(
    Network,
    # A stall costs a second.
    rule=st.sampled_from(["resume"] * 3 + ["cut"] * 8 + ["reset", "refuse", "stall"]),
    direction=st.sampled_from(["both", "to_server", "to_client"]),
    after=BYTES,
    rst=st.booleans(),
)
rounds = st.builds(
    Round,
    exports=st.integers(0, 2),
    faults=st.fixed_dictionaries({}, optional=FAULTS),
    network=networks,
    away=st.sampled_from(["", "", "", "exports", "acks"]),
    is_eager=st.booleans(),
    acks=st.integers(0, 2),
)


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("examples", [6, pytest.param(60, marks=pytest.mark.long)])
def test_no_order_is_lost_or_doubled_by_any_server(
    request: pytest.FixtureRequest, asyncssh_server: AsyncSSHServer, examples: int
) -> None:
    strategy = given(
        server=st.just(asyncssh_server),
        request=st.just(request),
        hidden=st.sets(st.sampled_from(EXTENSIONS)),
        bad_days=st.lists(rounds, min_size=1, max_size=3),
    )
    settings(max_examples=examples)(strategy(deliver_on_bad_days))()


def deliver_on_bad_days(
    server: AsyncSSHServer,
    request: pytest.FixtureRequest,
    hidden: set[str],
    bad_days: list[Round],
) -> None:
    hides = Faults(hidden_extensions=frozenset(hidden))
    server.faults = hides
    with (
        dropzone_of("asyncssh", request) as dropzone,
        TcpProxy(dropzone.config["host"], dropzone.config["port"]) as proxy,
    ):
        org = an_org(f"org-{uuid4()}")
        ann = a_user(org, str(uuid4()))
        timeouts = {"connect_timeout": 1, "operation_timeout": 1}
        config = {**dropzone.config, "port": proxy.port, **timeouts}
        connection = a_connection(org, config)
        erp = Erp(dropzone)
        made: list[ErpExport] = []
        for day in bad_days:
            made += some_exports(org, ann, day.exports, first=len(made))
            server.faults = replace(hides, **day.faults)
            with ExitStack() as stack:
                if day.away:
                    stack.enter_context(away(dropzone, day.away))
                if day.is_eager and day.away != "exports":
                    stack.enter_context(erp.taking_at_once())
                day.network.apply(proxy)
                note(f"    delivery: {dict(deliver(connection.id).errors)}")
                answer(dropzone, made, day.acks)
                note(f"    poll: {dict(poll(connection.id).errors)}")
            pool.close_idle()
            proxy.resume()
            server.faults = hides
            go_on(connection)
            erp.take()
        for _ in range(3):
            deliver(connection.id)
            erp.take()
            cleanup.clean_up(minimum_age=-cleanup.MINIMUM_AGE)
            poll(connection.id)
            go_on(connection)
        pool.close_idle()
        assert_kept(made, erp.taken, dropzone.leftovers(), where="at last")


@contextmanager
def away(dropzone: Dropzone, name: str) -> Iterator[None]:
    """Let a folder be missing meanwhile, as when a disk is not mounted."""
    folder: Path = getattr(dropzone, name)
    hidden = folder.with_name("hidden")
    folder.rename(hidden)
    yield
    hidden.rename(folder)


def answer(dropzone: Dropzone, exports: list[ErpExport], count: int) -> None:
    """The ERP accepts exports that it has seen."""
    sent = ErpExport.objects.filter(id__in=[e.id for e in exports], status="SENT")
    for export in sent.order_by("created_at")[:count]:
        if dropzone.acks.exists():
            path = dropzone.acks / f"ack_{export.filename}"
            path.write_text(json.dumps({"status": "ACKED", "erp_order_id": export.filename}))


def go_on(connection: ErpConnection) -> None:
    """Long enough for a retry, and a person resumes what was paused."""
    circuit_breaker.resume(connection.id)
    ErpConnection.objects.filter(id=connection.id).update(lease_until=None, retry_at=None)
    ErpExport.objects.filter(status="PENDING").update(next_attempt_at=db_now())

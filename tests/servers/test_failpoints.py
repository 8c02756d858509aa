"""A kill, a stall, a reset, an error and the loss of the database at every step of a delivery.

In a stall another worker finishes the delivery before the stalled one goes on.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from uuid import UUID

import pytest
from django.db import connection as database

from connectors.models import ErpConnection
from exports.delivery import cleanup
from exports.delivery.archive import archive_pending
from exports.delivery.protocol import deliver
from exports.models import ErpExport
from kernel.db import db_now
from tests.support.builders import a_connection, a_user, an_org, some_exports
from tests.support.dropzones import dropzone_of
from tests.support.erp import Erp
from tests.support.failing_worker import FailingWorkers
from tests.support.invariants import assert_kept
from tests.support.servers import TcpProxy

pytestmark = pytest.mark.django_db(transaction=True)

RENAME = ("claimed", "renaming", "renamed", "published")
STEPS = ("noted", "created", "synced", "staged", *RENAME, "recorded", "archiving", "archived")
FAILPOINTS = {
    "filesystem": (*STEPS, "written"),
    "openssh": STEPS,
    # Where it differs from the other kind of OpenSSH server.
    "openssh_plain_rename": RENAME,
}


@dataclass
class Scene:
    workers: FailingWorkers
    connection_id: UUID
    proxy: TcpProxy | None

    def settle(self) -> None:
        """Another worker comes by, when leases and waits have run out."""
        ErpConnection.objects.update(lease_until=None, retry_at=None)
        ErpExport.objects.filter(status="PENDING").update(next_attempt_at=db_now())
        deliver(self.connection_id)
        archive_pending()

    def kill(self, failpoint: str) -> None:
        self.workers.start(failpoint, self.connection_id)
        assert self.workers.fate() == "-9"

    def fail(self, failpoint: str) -> None:
        self.workers.start(f"{failpoint}:raise", self.connection_id)
        assert self.workers.fate() in ("0", "1")

    def stall(self, failpoint: str) -> None:
        self._stop(failpoint)
        self.settle()
        assert self.workers.go_on() == "0"

    def reset(self, failpoint: str) -> None:
        self._stop(failpoint)
        assert self.proxy
        self.proxy.reset()
        assert self.workers.go_on() == "0"

    def lose_database(self, failpoint: str) -> None:
        self._stop(failpoint)
        with database.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        assert self.workers.go_on() in ("0", "1")

    def _stop(self, failpoint: str) -> None:
        self.workers.start(f"{failpoint}:stop", self.connection_id)
        assert self.workers.fate() == "stopped"


FAULTS: dict[str, Callable[[Scene, str], None]] = {
    "kill": Scene.kill,
    "stall": Scene.stall,
    "fail": Scene.fail,
    "lose_database": Scene.lose_database,
    "reset": Scene.reset,
}


# Of the faults other than a kill each step meets one, those around the rename two or three;
# make test-long has every fault at every step of every kind.
SAMPLE = {
    "stall": ("noted", "staged", "claimed", "renaming", "published"),
    "fail": ("created", "claimed", "renamed", "recorded", "archiving"),
    "lose_database": ("synced", "renaming", "published", "archived"),
    "reset": ("staged", "claimed", "renamed", "recorded"),
}
CASES = [
    *(pytest.param(kind, "kill", steps, id=f"{kind}-kill") for kind, steps in FAILPOINTS.items()),
    *(pytest.param("openssh", fault, steps, id=fault) for fault, steps in SAMPLE.items()),
    *(
        pytest.param(kind, fault, FAILPOINTS[kind], id=f"{kind}-{fault}", marks=pytest.mark.long)
        for kind, fault in product(FAILPOINTS, SAMPLE)
        # A folder has no connection that could be reset.
        if (kind, fault) != ("filesystem", "reset")
    ),
]


@pytest.mark.parametrize(("kind", "fault", "steps"), CASES)
def test_each_order_arrives_once_whatever_happens_at_any_step(
    request: pytest.FixtureRequest,
    failing_workers: FailingWorkers,
    kind: str,
    fault: str,
    steps: tuple[str, ...],
) -> None:
    org = an_org()
    ann = a_user(org)
    with ExitStack() as stack:
        dropzone = stack.enter_context(dropzone_of(kind, request))
        config, proxy = dropzone.config, None
        if kind != "filesystem":
            proxy = stack.enter_context(TcpProxy(config["host"], config["port"]))
            config = {**config, "port": proxy.port}
        connection = a_connection(org, config)
        scene = Scene(failing_workers, connection.id, proxy)
        for number, failpoint in enumerate(steps):
            exports = some_exports(org, ann, 2, first=2 * number)
            erp = Erp(dropzone)
            with erp.taking_at_once():
                FAULTS[fault](scene, failpoint)
                scene.settle()
            cleanup.clean_up(minimum_age=-cleanup.MINIMUM_AGE)
            assert_kept(exports, erp.taken, dropzone.leftovers(), where=f"{fault} at {failpoint}")
            assert not ErpExport.objects.filter(archived_at=None).exists()

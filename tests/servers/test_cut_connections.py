"""The connection to a real server is cut at many bytes, in both directions, by FIN and RST."""

import os
import threading
from collections import Counter
from contextlib import suppress
from operator import le

import pytest

from connectors.dropzone.connector import pool
from connectors.errors import CATALOGUE, Kind
from connectors.models import ErpConnection
from exports.delivery import cleanup
from exports.delivery.protocol import deliver
from exports.models import ErpExport
from kernel.db import db_now
from tests.support.builders import a_connection, a_user, an_org, some_exports
from tests.support.dropzones import dropzone_of
from tests.support.erp import Erp
from tests.support.servers import TcpProxy
from tests.support.waiting import until

pytestmark = pytest.mark.django_db

EXPORTS = 3


def held() -> tuple[int, int]:
    """The threads and the descriptors of this process."""
    return threading.active_count(), len(os.listdir("/proc/self/fd"))


def settled(at_most: tuple[int, int]) -> bool:
    """Whether nothing is held beyond `at_most`; servers in this process need a moment."""
    pool.close_idle()
    with suppress(AssertionError):
        until(lambda: all(map(le, held(), at_most)), seconds=5)
        return True
    return False


@pytest.mark.parametrize("cuts", [3, pytest.param(30, marks=pytest.mark.long)])
@pytest.mark.parametrize("kind", ["openssh", "asyncssh"])
def test_a_stream_that_is_cut_anywhere(
    request: pytest.FixtureRequest, kind: str, cuts: int
) -> None:
    """`cuts`: how many in each direction."""
    org = an_org()
    ann = a_user(org)
    with (
        dropzone_of(kind, request) as dropzone,
        TcpProxy(dropzone.config["host"], dropzone.config["port"]) as proxy,
    ):
        erp = Erp(dropzone)
        connection = a_connection(org, {**dropzone.config, "port": proxy.port})
        idle = held()
        some_exports(org, ann, EXPORTS)
        assert deliver(connection.id).sent == EXPORTS
        lengths = {"to_client": proxy.bytes_to_client, "to_server": proxy.bytes_to_server}
        erp.take()
        assert settled(at_most=idle)
        broken = 0
        for cut in range(cuts):
            for number, (direction, length) in enumerate(lengths.items()):
                erp.taken.clear()
                first = EXPORTS * (1 + cut * len(lengths) + number)
                exports = some_exports(org, ann, EXPORTS, first=first)
                after = length * (2 * cut + 1) // (2 * cuts)
                proxy.cut(direction, after=after, rst=(cut + number) % 2 == 0)
                where = f"{direction} after {after} of {length} bytes"
                errors = deliver(connection.id).errors
                assert {CATALOGUE[code].kind for code in errors} <= {Kind.REACH}, where
                broken += bool(errors)
                erp.take()
                proxy.resume()
                ErpConnection.objects.update(retry_at=None)
                ErpExport.objects.filter(status="PENDING").update(next_attempt_at=db_now())
                deliver(connection.id)
                erp.take()
                assert erp.taken == Counter((e.filename, e.content) for e in exports), where
                states = set(ErpExport.objects.values_list("status", flat=True))
                assert states == {ErpExport.Status.SENT}, where
                cleanup.clean_up(minimum_age=-cleanup.MINIMUM_AGE)
                assert dropzone.leftovers() == [], where
                assert settled(at_most=idle), f"{where}: {held()} held, {idle} before"
        assert broken >= 2 * cuts - 2

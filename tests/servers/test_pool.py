"""Sessions are reused between deliveries, but never for another config or process."""

import os
import threading
from typing import Any

import pytest

from connectors.dropzone.connector import DropzoneJsonV1Connector
from connectors.dropzone.sftp import pool as pools
from connectors.errors import ConnectorError
from tests.support.dropzones import asyncssh_config
from tests.support.servers import AsyncSSHServer

connector = DropzoneJsonV1Connector()


def use(server: AsyncSSHServer, **changes: Any) -> list[str]:
    with connector.open(connector.parse_config(asyncssh_config(server, **changes))) as session:
        return list(session.listing())


def test_the_next_delivery_uses_the_same_session(asyncssh_server: AsyncSSHServer) -> None:
    before = logins(asyncssh_server)
    for _ in range(3):
        use(asyncssh_server)
    assert logins(asyncssh_server) == before + 1


def logins(server: AsyncSSHServer) -> int:
    return sum(attempt.accepted for attempt in server.auth_attempts)


def test_other_credentials_get_no_old_session(asyncssh_server: AsyncSSHServer) -> None:
    use(asyncssh_server)
    with pytest.raises(ConnectorError) as raised:
        use(asyncssh_server, password="wrong")
    assert raised.value.code == "AUTH_FAILED"


def test_a_session_that_the_server_closed_is_replaced(asyncssh_server: AsyncSSHServer) -> None:
    with AsyncSSHServer() as server:
        assert use(server) == []
        server.restart()
        assert use(server) == []


def test_a_session_is_closed_after_an_error(asyncssh_server: AsyncSSHServer) -> None:
    config = connector.parse_config(asyncssh_config(asyncssh_server))
    with pytest.raises(RuntimeError), connector.open(config):
        raise RuntimeError
    before = logins(asyncssh_server)
    use(asyncssh_server)
    assert logins(asyncssh_server) == before + 1


def test_an_idle_session_is_closed_by_itself(
    asyncssh_server: AsyncSSHServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "IDLE_SECONDS", 0.2)
    before = set(threading.enumerate())
    use(asyncssh_server)
    ours = set(threading.enumerate()) - before
    assert ours
    for thread in ours:
        thread.join(5)
    assert not any(thread.is_alive() for thread in ours)


def test_nothing_crosses_a_fork(asyncssh_server: AsyncSSHServer) -> None:
    use(asyncssh_server)
    before = logins(asyncssh_server)
    child = os.fork()
    if child == 0:
        try:
            use(asyncssh_server)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert logins(asyncssh_server) == before + 1
    # The parent's session is as good as before.
    use(asyncssh_server)
    assert logins(asyncssh_server) == before + 1

"""Real servers for tests: private, on loopback only, gone when the test process is gone."""

import importlib
from typing import Any

_MODULES = {
    "AsyncSSHServer": "asyncssh_server",
    "AuthAttempt": "asyncssh_server",
    "Faults": "asyncssh_server",
    "OpenSSHServer": "openssh",
    "Operation": "asyncssh_server",
    "PgBouncer": "pgbouncer",
    "PlainS3": "plain_s3",
    "Postgres": "postgres",
    "ProFTPDServer": "proftpd",
    "S3Server": "s3",
    "TcpProxy": "proxy",
    "WebServer": "web",
}

__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    # Imported on use: every process with the test settings wants PostgreSQL from this package,
    # and asyncssh and boto3 would cost each of them a second.
    if name not in _MODULES:
        raise AttributeError(name)
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)

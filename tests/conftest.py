"""The people and objects of all tests, made once; tests/support/real_parts.py has the servers."""

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import Group
from django.db import connection as database
from django.test import Client
from pytest_django import DjangoDbBlocker
from rest_framework.test import APIClient

from accounts.models import Org, User
from connectors.configuring import create_connection
from connectors.dropzone.connector import pool
from connectors.models import ErpConnection
from exports.delivery.protocol import deliver
from exports.models import ErpExport
from kernel import db
from tests.support.admins import CANARY, OLD_HOST_KEY, a_member, logged_in
from tests.support.api import client, person
from tests.support.builders import a_connection, a_user, an_org, some_exports
from tests.support.dropzones import Dropzone, dropzone_of
from tests.support.failing_worker import FailingWorkers
from tests.support.pristine import Pristine, restore_after_tests

# The same examples in each run; tests.explore looks for new ones. How long an example takes says
# more about the machine than about the code.
hypothesis.settings.register_profile(
    "repeatable",
    derandomize=True,
    database=None,
    deadline=None,
    print_blob=True,
    suppress_health_check=list(hypothesis.HealthCheck),
)
hypothesis.settings.register_profile(
    "explore", hypothesis.settings.get_profile("repeatable"), derandomize=False
)
hypothesis.settings.load_profile("repeatable")

pytest_plugins = ["tests.support.real_parts", "tests.support.storages", "tests.support.web_server"]


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> None:
    from tests.support.real_parts import exercised  # pytest loads that module, as a plugin

    if database.vendor == "postgresql":
        exercised("PostgreSQL")
    with django_db_blocker.unblock():
        restore_after_tests(Pristine())


# People.


@pytest.fixture
def org(db: None) -> Org:
    """Acme."""
    return an_org()


@pytest.fixture
def other_org(db: None) -> Org:
    return an_org("umbrella")


@pytest.fixture
def ann(org: Org) -> User:
    """A colleague at Acme; she has no role, and services ask for none."""
    return a_user(org)


@pytest.fixture
def approver(ann: User) -> User:
    """Ann, who may use the admin and decide about orders."""
    ann.groups.add(Group.objects.get(name="Approver"))
    ann.is_staff = True
    ann.save(update_fields=["is_staff"])
    return ann


@pytest.fixture
def oskar(org: Org) -> User:
    """Acme's operator."""
    return a_member(org, "oskar", "Operator")


@pytest.fixture
def vera(org: Org) -> User:
    """Somebody at Acme who may only look."""
    return a_member(org, "vera", "Viewer")


@pytest.fixture
def operator_client(oskar: User) -> Client:
    """Oskar's browser."""
    return logged_in(oskar)


@pytest.fixture
def superuser(db: None) -> User:
    return User.objects.create_superuser("root", password="secret")


@pytest.fixture
def root(superuser: User) -> Client:
    """The superuser's browser."""
    return logged_in(superuser)


# Clients of the API.


@pytest.fixture
def owner(org: Org) -> APIClient:
    """A service of Acme that may do everything with orders."""
    return client(person("olivia", org, "Integration"), org)


@pytest.fixture
def teammate(org: Org) -> APIClient:
    """Somebody at Acme who may only look."""
    return client(person("tom", org, "Viewer"), org)


@pytest.fixture
def stranger(db: None) -> APIClient:
    """A service of another org that may do everything there."""
    other = an_org("other")
    return client(person("sam", other, "Integration"), other)


# Dropzones, and connections to them.


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """With SQLite, load only the files that have tests for it."""
    if os.environ.get("TEST_DATABASE") == "sqlite" and collection_path.suffix == ".py":
        return "mark.ledger" not in collection_path.read_text() or None
    return None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Let tests that are marked with `dropzones` run with each of these kinds."""
    marker = metafunc.definition.get_closest_marker("dropzones")
    chosen = [m.args[0] for m in metafunc.definition.iter_markers("parametrize")]
    if marker and "dropzone" in metafunc.fixturenames and "dropzone" not in chosen:
        metafunc.parametrize("dropzone", marker.args, indirect=True)


@pytest.fixture
def dropzone_root() -> Iterator[Path]:
    """An empty folder that a connection in filesystem mode may use."""
    folder = Path(tempfile.mkdtemp(dir=django_settings.DROPZONE_ROOTS[0]))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def dropzone(request: pytest.FixtureRequest) -> Iterator[Dropzone]:
    """A mounted folder, or what the mark `dropzones` names."""
    with dropzone_of(getattr(request, "param", "filesystem"), request) as dropzone:
        yield dropzone


@pytest.fixture
def mounted_folder(dropzone_root: Path) -> Dropzone:
    """A mounted folder, for a test that none of the other kinds concerns; config without acks."""
    for name in ("exports", "acks"):
        (dropzone_root / name).mkdir(exist_ok=True)
    config = {"mode": "filesystem", "export_path": str(dropzone_root / "exports")}
    return Dropzone(config=config, exports=dropzone_root / "exports", acks=dropzone_root / "acks")


@pytest.fixture
def erp(org: Org, dropzone: Dropzone) -> ErpConnection:
    """Acme's connection to the dropzone; it delivers and reads acks."""
    return a_connection(org, dropzone.config)


@pytest.fixture
def sent(erp: ErpConnection, ann: User) -> ErpExport:
    """An export whose file lies in the dropzone."""
    (export,) = some_exports(erp.org, ann)
    assert deliver(erp.id).sent == 1
    return export


@pytest.fixture
def three_sent(erp: ErpConnection, ann: User) -> list[ErpExport]:
    exports = some_exports(erp.org, ann, 3)
    assert deliver(erp.id).sent == 3
    return exports


@pytest.fixture
def mounted(org: Org, dropzone_root: Path) -> ErpConnection:
    """Acme's connection to `dropzone_root`, without acks."""
    return a_connection(org, {"mode": "filesystem", "export_path": str(dropzone_root)})


@pytest.fixture
def remote(org: Org) -> ErpConnection:
    """Acme's connection to a server that is never asked; it is not paused."""
    config = {"mode": "sftp", "host": "erp.example", "username": "u", "password": "canary-4711"}
    return a_connection(org, {**config, "export_path": "/out", "host_keys": []})


@pytest.fixture
def folder(tmp_path: Path, settings: Any) -> Path:
    """The folder of `connection`."""
    settings.DROPZONE_ROOTS = [str(tmp_path)]
    for name in ("out", "acks"):
        (tmp_path / name).mkdir()
    return tmp_path


@pytest.fixture
def connection(org: Org, folder: Path) -> ErpConnection:
    """A new connection of Acme: paused until it was tested."""
    config = {"mode": "filesystem", "export_path": f"{folder}/out"}
    return create_connection(org, connector_type="DROPZONE_JSON_V1", config=config)


@pytest.fixture
def sftp(org: Org) -> ErpConnection:
    """A new connection of Acme over SFTP, with secrets."""
    config = {
        "mode": "sftp",
        "host": "erp.example",
        "username": "orderflow",
        "password": CANARY,
        "export_path": "/out",
        "host_keys": [OLD_HOST_KEY],
    }
    return create_connection(org, connector_type="DROPZONE_JSON_V1", config=config)


@pytest.fixture
def world(db: None, dropzone_root: Path) -> Any:
    """tests.support.lifecycle_rows.World: an org with a dropzone, people and an ERP."""
    from tests.support.lifecycle_rows import World

    return World(dropzone_root)


# The service's surroundings.


@pytest.fixture
def child_env(transactional_db: None, _child_env: dict[str, str]) -> dict[str, str]:
    """The environment for a process of the service, say a worker, on this test's database."""
    return _child_env


@pytest.fixture(scope="session")
def _child_env(django_db_setup: None) -> dict[str, str]:
    name = database.settings_dict["NAME"]
    url = f"sqlite:///{name}"
    if database.vendor == "postgresql":
        url = f"{os.environ['DATABASE_URL'].rpartition('/')[0]}/{name}"
    return {**os.environ, "DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "orderflow.settings"}


@pytest.fixture(scope="session")
def _failing_workers(_child_env: dict[str, str]) -> Iterator[FailingWorkers]:
    with FailingWorkers(_child_env) as workers:
        yield workers


@pytest.fixture
def failing_workers(transactional_db: None, _failing_workers: FailingWorkers) -> FailingWorkers:
    """What starts workers of the service, on this test's database, that die where they are told."""
    return _failing_workers


@pytest.fixture
def without_lag(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count what is committed at once, not after the lag that running transactions are given."""
    monkeypatch.setattr(db, "_LAG_SECONDS", 0)


@pytest.fixture
def quiet() -> Iterator[None]:
    """Log nothing: thousands of faults would be thousands of tracebacks."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(autouse=True)
def _no_session_outlives_its_test() -> Iterator[None]:
    yield
    pool.close_idle()

"""All connections can be paused at once, and those alone resumed."""

from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from accounts.models import User
from connectors import circuit_breaker
from connectors.models import NEVER_TESTED, ErpConnection
from exports.delivery.protocol import deliver
from tests.support.builders import a_connection, a_user, an_org, pause_by_system, some_exports

pytestmark = [pytest.mark.django_db, pytest.mark.ledger]

REASON = "Moving to another server"


@pytest.fixture
def staff() -> User:
    return a_user(an_org("staff"))


def connection(slug: str, folder: Path, *, paused: bool = False) -> ErpConnection:
    config = {"mode": "filesystem", "export_path": str(folder)}
    return a_connection(an_org(slug), config, paused=paused)


def reasons() -> dict[str, str]:
    return {c.org.slug: c.pause_reason for c in ErpConnection.objects.select_related("org")}


def pause(*which: str) -> None:
    call_command("pause_connections", *which, "--reason", REASON, "--user", "ann")


def test_nothing_is_delivered_until_they_are_resumed(
    staff: User, dropzone_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    acme, other = connection("acme", dropzone_root), connection("other", dropzone_root)
    pause("--all")
    assert capsys.readouterr().out == f"{acme}: paused\n{other}: paused\n"
    some_exports(acme.org, staff)
    assert deliver(acme.id).sent == 0
    # A passing connection test does not resume what a person has paused.
    assert circuit_breaker.run_test(acme).success
    assert reasons() == {"acme": REASON, "other": REASON}

    call_command("resume_connections", "--reason", REASON)
    assert capsys.readouterr().out == f"{acme}: resumed\n{other}: resumed\n"
    assert deliver(acme.id).sent == 1


def test_a_pause_by_the_system_is_taken_over(staff: User, dropzone_root: Path) -> None:
    erp = connection("acme", dropzone_root)
    pause_by_system(erp, "DIR_MISSING")
    pause("--all")
    assert circuit_breaker.retest_due() == 0
    assert reasons() == {"acme": REASON}


def test_what_a_person_had_paused_stays_paused(
    staff: User, dropzone_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = connection("acme", dropzone_root)
    connection("other", dropzone_root)
    circuit_breaker.pause(theirs.id, reason="The ERP is being upgraded", actor=staff)
    pause("--all")
    assert f"{theirs}: a person had paused it already" in capsys.readouterr().out
    call_command("resume_connections", "--reason", REASON)
    assert reasons() == {"acme": "The ERP is being upgraded", "other": ""}


def test_what_was_never_tested_waits_for_its_test(
    staff: User, dropzone_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    connection("acme", dropzone_root, paused=True)
    pause("--all")
    call_command("resume_connections", "--reason", REASON)
    assert "not resumed: it waits for its test to pass" in capsys.readouterr().out
    assert reasons() == {"acme": NEVER_TESTED}


def test_one_org_alone(staff: User, dropzone_root: Path) -> None:
    for slug in ("acme", "other"):
        connection(slug, dropzone_root)
    pause("--org", "acme")
    assert reasons() == {"acme": REASON, "other": ""}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--reason", "x", "--user", "ann"], "one of the arguments --all --org is required"),
        (["--all", "--reason", " ", "--user", "ann"], "--reason is empty"),
        (["--all", "--reason", "x", "--user", "nobody"], "There is no user nobody"),
        (["--org", "none", "--reason", "x", "--user", "ann"], "none has no connections"),
    ],
)
def test_what_is_missing_is_said(staff: User, arguments: list[str], said: str) -> None:
    with pytest.raises(CommandError, match=said):
        call_command("pause_connections", *arguments)


def test_no_such_reason() -> None:
    with pytest.raises(CommandError, match="No connection is paused for that reason"):
        call_command("resume_connections", "--reason", "x")

"""The page on security: each claim names an existing test."""

import re

import pytest
from django.contrib.auth.models import Group
from django.test import Client

from accounts.models import User
from tests.support.processes import ROOT

PAGE, _ = (ROOT / "docs/security.md").read_text().split("\n## The audit log\n")
CLAIMS = re.findall(r"^\| ([^|]{10,}) \| ([^|]+) \|$", PAGE, re.MULTILINE)


@pytest.mark.parametrize(("claim", "shown_by"), CLAIMS)
def test_each_claim_names_tests_that_exist(claim: str, shown_by: str) -> None:
    named = re.findall(r"`(\w+\.py)::(\w+)`", shown_by)
    assert named
    for file, name in named:
        (path,) = (ROOT / "tests").glob(f"*/{file}")
        assert f"\ndef {name}(" in path.read_text(), name


def test_it_has_claims() -> None:
    assert len(CLAIMS) == sum(".py::" in line for line in PAGE.splitlines()) > 25


def test_the_groups_are_those_that_there_are(db: None) -> None:
    told = re.search(r"their groups\s+permit: ([\w, ]+)\.", " ".join(PAGE.split()))
    assert told
    assert set(told[1].split(", ")) == set(Group.objects.values_list("name", flat=True))


def test_a_login_is_nothing_to_the_api(db: None, client: Client) -> None:
    client.force_login(User.objects.create_superuser("root"))
    assert client.get("/admin/").status_code == 200
    assert client.get("/api/v1/draft-orders").status_code == 401

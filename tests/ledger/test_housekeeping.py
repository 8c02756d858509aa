"""Housekeeping deletes old rows of libraries, which would otherwise accumulate."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django_q.models import Task

from kernel.db import db_now
from worker import tasks
from worker.housekeeping import FAILED_TASKS_KEPT_FOR

pytestmark = pytest.mark.django_db


def test_sessions_that_have_ended_are_deleted() -> None:
    now = db_now()
    for key, left in (("ended", -1), ("open", 1)):
        ends_at = now + timedelta(hours=left)
        Session.objects.create(session_key=key, session_data="", expire_date=ends_at)
    tasks.tidy()
    assert [session.session_key for session in Session.objects.all()] == ["open"]


def test_tasks_that_failed_long_ago_are_deleted() -> None:
    def failed(name: str, **ago: Any) -> None:
        at = db_now() - FAILED_TASKS_KEPT_FOR + timedelta(**ago)
        Task.objects.create(id=name, name=name, func="f", started=at, stopped=at, success=False)

    failed("old", hours=-1)
    failed("young", hours=1)
    tasks.tidy()
    assert [task.name for task in Task.objects.all()] == ["young"]

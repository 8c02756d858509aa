"""The schedules exist once, however many workers start at the same moment."""

import threading

import pytest
from django.db import connection
from django_q.models import Schedule

from worker.schedules import create_schedules


@pytest.mark.ledger
@pytest.mark.django_db(transaction=True)
def test_workers_that_start_together_make_each_schedule_once() -> None:
    Schedule.objects.all().delete()
    barrier = threading.Barrier(4)

    def start() -> None:
        barrier.wait()
        create_schedules()
        connection.close()

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    names = list(Schedule.objects.values_list("name", flat=True))
    assert names
    assert len(names) == len(set(names))
    # A duplicate from elsewhere is mended, not a reason to stop.
    Schedule.objects.create(name=names[0], func="x", schedule_type=Schedule.MINUTES)
    create_schedules()
    assert Schedule.objects.filter(name=names[0]).count() == 1

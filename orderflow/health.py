"""Health: whether this process is alive, and whether it can serve requests."""

import logging
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Final

from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse

from kernel.problems import CONTENT_TYPE, problem

logger = logging.getLogger(__name__)

_DEADLINE_SECONDS: Final = 2.0
_SILENT: Final = "The database does not answer."
_OUTDATED: Final = "The database lacks migrations. Run: manage.py migrate"
# One question at a time: however long a database hangs, it holds up one thread.
_asking = threading.Lock()


def health_middleware(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """The middleware that answers /healthz and /readyz.

    It comes before those that look at the host and want HTTPS: probes come from inside, by address.
    """

    def middleware(request: HttpRequest) -> HttpResponse:
        if request.path == "/healthz":
            return JsonResponse({"status": "alive"})
        if request.path == "/readyz":
            if obstacle := readiness_problem():
                return JsonResponse(
                    problem(503, "not_ready", obstacle), status=503, content_type=CONTENT_TYPE
                )
            return JsonResponse({"status": "ready"})
        return get_response(request)

    return middleware


def readiness_problem() -> str | None:
    """Why no request can be served now; None if nothing is known to be in the way.

    Asked in a thread of its own, because a database may take a question and never answer.
    """
    if not _asking.acquire(timeout=_DEADLINE_SECONDS):
        return _SILENT
    answer: SimpleQueue[str | None] = SimpleQueue()
    threading.Thread(target=_ask, args=(answer,), daemon=True).start()
    try:
        return answer.get(timeout=_DEADLINE_SECONDS)
    except Empty:
        return _SILENT


def _ask(answer: SimpleQueue[str | None]) -> None:
    try:
        executor = MigrationExecutor(connection)
        missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
        answer.put(_OUTDATED if missing else None)
    except DatabaseError as e:
        logger.warning("not ready: %s", type(e).__name__, exc_info=e)
        answer.put(_SILENT)
    finally:
        connection.close()
        _asking.release()

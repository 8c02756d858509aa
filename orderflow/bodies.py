"""The body of a request: received whole and within one limit, before anything reads it."""

from collections.abc import Callable
from tempfile import SpooledTemporaryFile
from typing import IO, Any, Final

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render

from kernel.limits import MAX_BODY_BYTES
from kernel.problems import CONTENT_TYPE, Problem, problem
from orderflow.middleware import is_for_api

_STEP_BYTES: Final = 64 * 1024
_MEMORY_BYTES: Final = 1024 * 1024
# A client that is still sending does not hear that its body is too large.
_DISCARDED_BYTES: Final = 4 * MAX_BODY_BYTES
_LONGEST_LENGTH: Final = 18  # digits of a Content-Length


def receive(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """The middleware that lets all bodies be read alike, however they were sent.

    Django and DRF take a request without Content-Length for one without a body. With
    `Transfer-Encoding: chunked` it has one, whose length is known when it has arrived.
    """

    def middleware(request: HttpRequest) -> HttpResponse:
        is_chunked = "HTTP_TRANSFER_ENCODING" in request.META
        if not is_chunked and request.META.get("CONTENT_LENGTH", "") in ("", "0"):
            return get_response(request)
        with SpooledTemporaryFile(_MEMORY_BYTES) as body:
            try:
                length = _copy(request, body, is_chunked=is_chunked)
            except Problem as e:
                return _refusal(request, e)
            body.seek(0)
            request.META["CONTENT_LENGTH"] = str(length)
            request._stream = body  # type: ignore[assignment]  # where Django reads from
            return get_response(request)

    return middleware


def _copy(request: HttpRequest, body: IO[bytes], *, is_chunked: bool) -> int:
    """Copy the body of a request; return its length. Raises Problem (400, 411, 413)."""
    if is_chunked and not request.META.get("wsgi.input_terminated"):
        # The server has not decoded it, and would wait for more at its end.
        raise Problem(
            411,
            "length_required",
            "The server cannot read a body that comes in chunks. Send it with a Content-Length.",
        )
    stream = request.META["wsgi.input"]
    declared = None if is_chunked else _declared(request)
    is_too_large = declared is not None and declared > MAX_BODY_BYTES
    length = 0
    while step := _read(stream, _STEP_BYTES if declared is None else declared - length):
        length += len(step)
        is_too_large = is_too_large or length > MAX_BODY_BYTES
        if not is_too_large:
            body.write(step)
        elif length > _DISCARDED_BYTES:
            break
    if is_too_large:
        raise Problem(
            413,
            "too_large",
            f"The body is larger than {MAX_BODY_BYTES // 1024**2} MiB. Send less at once.",
        )
    if declared is not None and length < declared:
        raise Problem(400, "incomplete_body", "The body ended before its Content-Length.")
    return length


def _read(stream: Any, most: int) -> bytes:
    try:
        step: bytes = stream.read(min(most, _STEP_BYTES))
    except Exception as e:  # each server has its own errors for bodies
        raise Problem(400, "incomplete_body", "The body broke off or its chunks are wrong.") from e
    return step


def _declared(request: HttpRequest) -> int:
    text: str = request.META["CONTENT_LENGTH"]
    if not (text.isascii() and text.isdecimal() and len(text) <= _LONGEST_LENGTH):
        raise Problem(400, "bad_request", "The Content-Length is not a number.")
    return int(text)


def _refusal(request: HttpRequest, error: Problem) -> HttpResponse:
    if is_for_api(request):
        said = problem(error.status_code, error.code, str(error.detail))
        return JsonResponse(said, status=error.status_code, content_type=CONTENT_TYPE)
    context = {"reason": str(error.detail)}
    return render(request, "body_refused.html", context, status=error.status_code)

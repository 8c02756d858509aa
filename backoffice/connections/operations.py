"""Operating a connection: test it, pin its host key, deliver, check acks, pause and resume."""

from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import URLPattern, path
from django.utils.formats import localize

from backoffice.badges import Tone, badge
from backoffice.connections.state import (
    ConnectionState,
    change_url,
    pinned_keys,
    unpinned_key,
)
from backoffice.pages import ReasonForm
from backoffice.scoping import person, require
from connectors import circuit_breaker
from connectors.configuring import pin_host_key
from connectors.errors import ConnectorError
from connectors.models import ErpConnection
from connectors.port import ConfigError
from exports.connection_tests import is_lost, request_test
from exports.delivery import heartbeat
from exports.delivery.dispatch import poll_now
from exports.pushing.push import deliver_waiting
from kernel.errors import RuleViolation

_OUTCOME_TONES = {"ok": Tone.GOOD, "failed": Tone.BAD, "skipped": Tone.QUIET}


class ConnectionOperating(ConnectionState):
    """What can be done with a connection on its page."""

    def get_urls(self) -> list[URLPattern]:
        views = {
            "test": self.test_view,
            "poll": self.poll_view,
            "deliver": self.deliver_view,
            "pin": self.pin_view,
            "pause": self.pause_view,
            "resume": self.resume_view,
        }
        return [
            *(
                path(
                    f"<uuid:pk>/{name}/",
                    self.admin_site.admin_view(view),
                    name=f"connectors_erpconnection_{name}",
                )
                for name, view in views.items()
            ),
            path(
                "<uuid:pk>/test/<uuid:test>/",
                self.admin_site.admin_view(self.test_result_view),
                name="connectors_erpconnection_test_result",
            ),
            *super().get_urls(),
        ]

    def test_view(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        require(request, "connectors.test_erpconnection")
        connection: ErpConnection = self.get_or_404(request, pk)
        if request.method != "POST":
            return self.confirmation(
                request,
                title="Test connection",
                original=connection,
                paragraphs=[
                    "The test does what a delivery does: it logs in and writes, renames and "
                    "removes a small file whose name no ERP takes for an order. "
                    "No order is sent by the test itself.",
                    "If it passes, a pause by the system ends and waiting exports are delivered.",
                ],
                submit="Test now",
                back=change_url(connection),
            )
        try:
            test = request_test(connection, actor=person(request))
        except RuleViolation as e:
            self.message_user(request, e.message, messages.ERROR)
            return redirect(change_url(connection))
        self.log_change(request, connection, "Asked for a connection test.")
        return redirect("admin:connectors_erpconnection_test_result", pk, test.pk)

    def test_result_view(self, request: HttpRequest, pk: UUID, test: UUID) -> HttpResponse:
        """A test as far as it has come; the page looks again by itself until it has ended."""
        connection: ErpConnection = self.get_or_404(request, pk)
        asked = get_object_or_404(connection.tests, pk=test)
        return self.page(
            request,
            "admin/connectors/erpconnection/test_result.html",
            title="Connection test",
            original=connection,
            test=asked,
            is_running=not asked.finished_at and not is_lost(asked),
            has_worker=heartbeat.alive().exists(),
            steps=[
                (step, badge(step["outcome"], _OUTCOME_TONES[step["outcome"]]))
                for step in asked.steps
            ],
            milliseconds=sum(step["milliseconds"] for step in asked.steps),
            **self.full_state(request, connection),
        )

    def poll_view(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        require(request, "connectors.test_erpconnection")
        connection: ErpConnection = self.get_or_404(request, pk)
        may_read = circuit_breaker.may_read(connection)
        if request.method != "POST" or not may_read:
            return self.confirmation(
                request,
                title="Check acks",
                original=connection,
                paragraphs=[
                    "A worker looks into the ack folder at once: what the ERP has answered counts "
                    "and is moved away, and files that the ERP has taken are noted."
                ]
                if may_read
                else [
                    "The dropzone cannot be reached.",
                    f"The connection is paused: {circuit_breaker.pause_sentence(connection)}"
                    if connection.is_paused
                    else f"The next try is at {localize(connection.retry_at)}.",
                ],
                submit="Check acks now" if may_read else "",
                back=change_url(connection),
            )
        poll_now(pk)
        self.log_change(request, connection, "Asked for a look at the acks.")
        self.message_user(request, "A worker looks for acks now.", messages.SUCCESS)
        return redirect(change_url(connection))

    def deliver_view(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        require(request, "orders.push_draftorder")
        connection: ErpConnection = self.get_or_404(request, pk)
        if request.method != "POST":
            return self.confirmation(
                request,
                title="Deliver now",
                original=connection,
                paragraphs=[
                    "A worker tries at once what waits here, also what was put off after failures. "
                    "What was sent is not sent twice. Exports that need a decision go on waiting."
                    if not connection.is_paused
                    else "The connection is paused: what waits goes when it resumes."
                ],
                submit="" if connection.is_paused else "Deliver now",
                back=change_url(connection),
            )
        try:
            deliver_waiting(pk, actor=person(request))
        except RuleViolation as e:
            self.message_user(request, e.message, messages.ERROR)
        else:
            self.log_change(request, connection, "Asked for a delivery.")
            self.message_user(request, "A worker delivers now.", messages.SUCCESS)
        return redirect(change_url(connection))

    def pin_view(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        require(request, "connectors.change_erpconnection")
        connection: ErpConnection = self.get_or_404(request, pk)
        seen = unpinned_key(connection)
        back = redirect(change_url(connection))
        if not seen:
            self.message_user(request, "There is no new host key to pin.", messages.WARNING)
            return back
        if request.method != "POST":
            pinned = pinned_keys(connection)
            return self.confirmation(
                request,
                title="Pin host key",
                template="admin/connectors/erpconnection/pin.html",
                original=connection,
                paragraphs=[
                    "Ask the ERP admin, by another way than this connection, for the fingerprint "
                    "of the server's host key. Pin the key only if it is the same.",
                    "The pinned key is trusted instead of those trusted so far."
                    if pinned
                    else "From then on only a server that shows this key is trusted.",
                ],
                pinned=[(key.key_type, key.fingerprint) for key in pinned],
                seen=(seen.key_type, seen.fingerprint),
                hidden=[("host_key", seen.line)],
                submit="Pin this host key",
                back=change_url(connection),
            )
        if request.POST.get("host_key") != seen.line:
            self.message_user(
                request, "Another test has seen another host key meanwhile.", messages.ERROR
            )
            return back
        try:
            pin_host_key(connection, seen.line, actor=person(request))
        except (ConfigError, ConnectorError) as e:
            self.message_user(request, str(e), messages.ERROR)
        else:
            self.log_change(request, connection, f"Pinned the host key {seen.fingerprint}.")
            self.message_user(
                request, "The host key was pinned. Test the connection again.", messages.SUCCESS
            )
        return back

    def pause_view(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        require(request, "connectors.pause_erpconnection")
        connection: ErpConnection = self.get_or_404(request, pk)
        form = ReasonForm(request.POST if request.method == "POST" else None)
        if not form.is_valid():
            return self.confirmation(
                request,
                title="Pause connection",
                original=connection,
                paragraphs=[
                    "Nothing is delivered until a person resumes the connection. "
                    "Orders can still be pushed: their exports wait."
                ],
                form=form,
                submit="Pause",
                back=change_url(connection),
            )
        reason = form.cleaned_data["reason"]
        if circuit_breaker.pause(pk, reason=reason, actor=person(request)):
            self.log_change(request, connection, f"Paused: {reason}")
            self.message_user(request, "The connection was paused.", messages.SUCCESS)
        else:
            self.message_user(request, "Somebody has paused it already.", messages.WARNING)
        return redirect(change_url(connection))

    def resume_view(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        require(request, "connectors.pause_erpconnection")
        connection: ErpConnection = self.get_or_404(request, pk)
        if request.method != "POST":
            return self.confirmation(
                request,
                title="Resume connection",
                original=connection,
                paragraphs=[
                    "Waiting exports are delivered at once.",
                    f"The connection was paused: {circuit_breaker.pause_sentence(connection)}"
                    if connection.is_paused
                    else "The connection is not paused now.",
                ],
                submit="Resume" if connection.is_paused else "",
                back=change_url(connection),
            )
        if circuit_breaker.resume(pk, actor=person(request)):
            self.log_change(request, connection, "Resumed.")
            self.message_user(request, "The connection was resumed.", messages.SUCCESS)
        elif ErpConnection.objects.get(pk=pk).is_paused:
            self.message_user(
                request,
                "The connection was not tested since it was set up or changed. "
                "It resumes by itself when its test passes.",
                messages.WARNING,
            )
        else:
            self.message_user(request, "The connection was not paused.", messages.WARNING)
        return redirect(change_url(connection))

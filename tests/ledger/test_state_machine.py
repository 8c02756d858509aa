"""The delivery protocol against random moves, faults and races, each promise checked at each step.

The services are real, the dropzone is the one in memory. Every operation on it, every step of a
delivery, every query and every commit is a place where a fault may wait: the worker dies, an
answer gets lost, a file is refused, a folder goes, or somebody else makes his move, a second
worker with the whole of a delivery. What the ERP could ever see is noted beside the ledger.
"""

import itertools
import posixpath
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from copy import copy
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial
from random import Random
from typing import Any, TypeVar
from unittest import mock
from uuid import UUID, uuid4

import pytest
from django.conf import settings
from django.db import OperationalError
from django.db import connection as database
from django.test import override_settings
from hypothesis import note
from hypothesis import settings as Settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from connectors import circuit_breaker
from connectors.dropzone import connector
from connectors.dropzone.folder import DropFolder, FileError, NewFile, Reason, Stat
from connectors.dropzone.memory import MemoryFolder
from connectors.errors import CATALOGUE, ConnectorError, Kind
from connectors.models import ErpConnection
from connectors.port import ConfigError
from exports.connections import change_config
from exports.delivery import cleanup, protocol
from exports.lifecycle import allows, legal_steps
from exports.models import ErpExport
from exports.pushing.push import cancel_export, deliver_again, push_order, retry_order
from kernel.db import Now, db_now
from kernel.errors import RuleViolation
from orders import approval
from orders.models import DraftOrder, DraftOrderLine
from tests.support.builders import a_connection, a_user, an_approved_order, an_org, pause_by_system

pytestmark = pytest.mark.django_db(transaction=True)

T = TypeVar("T")
OrderStatus = DraftOrder.Status
ROOT = settings.DROPZONE_ROOTS[0]
EXPORTS, ELSEWHERE, STAGING = (f"{ROOT}/{name}" for name in ("exports", "elsewhere", "staging"))
CONFIGS: tuple[dict[str, Any], ...] = (
    {"mode": "filesystem", "export_path": EXPORTS},
    {"mode": "filesystem", "export_path": EXPORTS, "tmp_path": STAGING},
    {"mode": "filesystem", "export_path": EXPORTS, "atomic_write": False},
    {"mode": "filesystem", "export_path": ELSEWHERE},
)
# Exports that need a decision, and those with an unknown outcome.
MAY_WAIT = {code for code, spec in CATALOGUE.items() if spec.kind is Kind.DECISION} | {
    "FOLDER_CHANGED"
}
# There are no acks and no manual decisions here, so an export that has left PENDING never changes.
LEGAL = {(a, b) for a, b in legal_steps() if a == ErpExport.Status.PENDING or a == b}


# Where something may happen, and one chance in how many that it does.
OPERATIONS = ("create", "rename", "lstat", "read", "remove", "identity")
STEPS = ("noted", "staged", "claimed", "published", "recorded")
ODDS = {**dict.fromkeys(OPERATIONS, 12), **dict.fromkeys(STEPS, 6), "commit": 16, "query": 160}


class Act(Enum):
    """A fault. The first four hit the worker itself."""

    DIE = auto()
    TIME_OUT = auto()  # the queue's limit, which raises SystemExit
    LOSE_ANSWER = auto()  # and with it the connection
    REFUSE = auto()
    ERP_TAKES = auto()
    OTHER_WORKER = auto()
    CANCEL = auto()
    GIVE_UP = auto()
    PAUSE = auto()
    RECONFIGURE = auto()
    FOREIGN_FILE = auto()
    VANISH = auto()
    COME_BACK = auto()
    RENEW = auto()  # the folder is made anew, empty


MISFORTUNES = (Act.DIE, Act.TIME_OUT, Act.LOSE_ANSWER)
RETURNS = (Act.COME_BACK, Act.RENEW)
MOVES = (
    *(Act.ERP_TAKES, Act.CANCEL, Act.GIVE_UP, Act.PAUSE, Act.RECONFIGURE, Act.FOREIGN_FILE),
    *(Act.OTHER_WORKER, Act.VANISH) * 3,
)
# A file that is there is never reported missing: that answer is what deliveries build on.
REASONS = tuple(reason for reason in Reason if reason is not Reason.MISSING)


class When(Enum):
    BEFORE = auto()
    HALFWAY = auto()  # a file half written, a rename that linked and did not unlink
    AFTER = auto()


luck = st.randoms(use_true_random=True)


class Died(BaseException):
    """The worker's process is gone."""


class Gone(OperationalError):
    """The database is gone; whether it did what it was asked is unknown."""


@dataclass(slots=True)
class Worker:
    """A process of ours. Of what may happen to it, `trials` is how much and `peril` how likely."""

    luck: Random
    moves: tuple[Act, ...] = MOVES
    trials: int = 3
    peril: int = 1
    is_dead: bool = False
    has_missed_folder: bool = False


class Folder(DropFolder):
    """One session's view of the zone: file by file, with a fault before, amid and after each."""

    def __init__(self, machine: "Deliveries") -> None:
        self._machine = machine
        self._zone = machine.zone
        self._is_lost = False

    def __exit__(self, *exc_info: Any) -> None:
        """Leave everything as it is."""

    def create(self, files: Sequence[NewFile]) -> list[FileError | None]:
        def half(file: NewFile) -> None:
            if self._zone.create([file]) == [None]:
                self._zone.files[file.path] = file.content[: len(file.content) // 2]

        return [
            self._do("create", f.path, lambda f=f: self._zone.create([f])[0], lambda f=f: half(f))
            for f in files
        ]

    def rename(self, moves: Sequence[tuple[str, str]]) -> list[FileError | None]:
        return [
            self._do(
                "rename",
                source,
                lambda s=source, t=target: self._rename(s, t),
                lambda s=source, t=target: self._link(s, t),
            )
            for source, target in moves
        ]

    def _rename(self, source: str, target: str) -> FileError | None:
        files = self._zone.files
        if self._machine.renames_over_files and source in files and target in files:
            del files[target]
        return self._zone.rename([(source, target)])[0]

    def _link(self, source: str, target: str) -> None:
        content = self._zone.files.get(source)
        if not self._machine.renames_over_files and self._rename(source, target) is None:
            assert content is not None
            self._zone.files[source] = content
            self._machine.linked[target] = source

    def lstat(self, paths: Sequence[str]) -> list[Stat | FileError | None]:
        return [self._do("lstat", p, lambda p=p: self._zone.lstat([p])[0]) for p in paths]

    def read(self, paths: Sequence[str], *, limit: int) -> list[bytes | FileError]:
        return [
            self._do("read", p, lambda p=p: self._zone.read([p], limit=limit)[0]) for p in paths
        ]

    def remove(self, paths: Sequence[str]) -> list[FileError | None]:
        def removed(path: str) -> FileError | None:
            self._machine.removed.add(path)
            return self._zone.remove([path])[0]

        return [self._do("remove", p, lambda p=p: removed(p)) for p in paths]

    def entries(self, folder: str) -> Any:
        return self._zone.entries(folder)

    def make(self, folder: str) -> FileError | None:
        return self._zone.make(folder)

    def identity(self, folder: str) -> str | None:
        found = self._do("identity", folder, lambda: self._zone.identity(folder))
        if isinstance(found, FileError):
            raise ConnectorError("CONNECTION_LOST") from found
        return found

    def free_bytes(self, folder: str) -> int | None:
        return None

    def _do(
        self, place: str, path: str, do: Callable[[], T], half: Callable[[], None] | None = None
    ) -> T | FileError:
        try:
            if self._is_lost:
                raise ConnectorError("CONNECTION_LOST")
            machine = self._machine
            machine.expect(not database.in_atomic_block, "files move while a transaction is open")
            if refused := machine.passes(place, When.BEFORE):
                return FileError(refused, path)
            if half and (act := machine.fate(place, When.HALFWAY)):
                with machine.watching():
                    half()
                return FileError(machine.suffers(act, place) or Reason.FAILURE, path)
            with machine.watching():
                result = do()
            if refused := machine.passes(place, When.AFTER):
                return FileError(refused, path)
            return result
        except ConnectorError:
            self._is_lost = True
            raise


class Deliveries(RuleBasedStateMachine):
    numbers = itertools.count(1)

    def __init__(self) -> None:
        super().__init__()
        self.worker: Worker | None = None
        self.broken: list[str] = []
        self.zone = MemoryFolder(EXPORTS, ELSEWHERE, STAGING)
        # Files that are not ours, and all versions of each file that the ERP could read.
        self.foreign = {
            f"{folder}/{name}": b"foreign"
            for folder in (EXPORTS, ELSEWHERE, STAGING)
            for name in ("sales_order_of_others.json", "sales_order_of_others.json.1.tmp")
        }
        self.zone.files.update(self.foreign)
        self.seen: dict[str, list[bytes]] = defaultdict(list)
        self.removed: set[str] = set()
        self.linked: dict[str, str] = {}
        self.hidden: dict[str, tuple[str, dict[str, bytes]]] = {}
        self.renewed = itertools.count(100)
        self.known: dict[UUID, ErpExport] = {}
        self.is_amid = self.is_eager = self.renames_over_files = False
        number = next(self.numbers)
        self.org = an_org(f"org-{number}")
        self.ann = a_user(self.org, f"ann-{number}")
        self.patches = ExitStack()
        commit = database.commit
        for patch in (
            mock.patch.object(connector, "_open_folder", self.opens),
            mock.patch.object(protocol, "failpoint", lambda step: self.passes(step, When.BEFORE)),
            mock.patch.object(database, "commit", partial(self.commits, commit)),
            database.execute_wrapper(self.queries),
        ):
            self.patches.enter_context(patch)

    @initialize(
        config=st.sampled_from(CONFIGS),
        count=st.integers(1, 3),
        is_eager=st.booleans(),
        renames_over_files=st.booleans(),
        luck=luck,
    )
    def begin(
        self,
        config: dict[str, Any],
        count: int,
        is_eager: bool,
        renames_over_files: bool,
        luck: Random,
    ) -> None:
        """`is_eager`: the ERP takes every file in the instant it appears."""
        self.config = config
        self.connection = a_connection(self.org, config)
        self.is_eager, self.renames_over_files = is_eager, renames_over_files
        self.approve_orders()
        for _ in range(count):
            self.push()
        self.deliver(luck)

    # Rules.
    @rule(luck=luck)
    def deliver(self, luck: Random) -> None:
        for _ in range(luck.randint(1, 4)):
            if luck.randrange(4):
                self.come_back(is_empty=luck.randrange(3) == 0)
                circuit_breaker.resume(self.connection.id)
            if not self.pending().exclude(next_attempt_at=None).exists():
                self.push()
            self.time_passes()
            self.works(lambda: protocol.deliver(self.connection.id), Worker(luck))
            self.promises_hold()

    @rule(luck=luck)
    def sweep(self, luck: Random) -> None:
        self.time_passes()
        self.works(
            lambda: cleanup.clean_up(minimum_age=-cleanup.MINIMUM_AGE), Worker(luck, moves=())
        )

    @rule(luck=luck)
    def deliver_at_last(self, luck: Random) -> None:
        """A delivery after every export has exceeded its time limit."""
        self.time_passes()
        with override_settings(EXPORT_GIVE_UP_HOURS=0):
            self.works(lambda: protocol.deliver(self.connection.id), Worker(luck))

    @rule(
        pick=st.integers(0, 3),
        decision=st.sampled_from(("approve", "edit", "reject", "push", "retry", "cancel")),
    )
    def decide(self, pick: int, decision: str) -> None:
        orders = list(DraftOrder.objects.filter(org=self.org).order_by("created_at"))
        order = orders[pick % len(orders)]
        with suppress(RuleViolation):
            match decision:
                case "approve":
                    approval.approve(order.id, actor=self.ann)
                case "edit":
                    with approval.editing(order.id, actor=self.ann) as edited:
                        edited.notes += "!"
                        edited.save(update_fields=["notes"])
                case "reject":
                    approval.reject(order.id, actor=self.ann)
                case "push":
                    push_order(order.id, actor=self.ann)
                case "retry":
                    retry_order(order.id, actor=self.ann)
                case "cancel":
                    for export in order.exports.all():
                        cancel_export(export.id, actor=self.ann)

    def approve_orders(self) -> None:
        """Approve one order and copy it, which is quicker."""
        original = an_approved_order(self.org, self.ann)
        copies = [copy(original) for _ in range(7)]
        lines = [copy(line) for line in original.lines.all() for _ in copies]
        for order, line in zip(copies, lines, strict=True):
            order.id, line.id, line.order = uuid4(), None, order
        DraftOrder.objects.bulk_create(copies)
        DraftOrderLine.objects.bulk_create(lines)
        self.approved = iter([original, *copies])

    def push(self) -> None:
        for order in itertools.islice(self.approved, 1):
            with suppress(RuleViolation):
                push_order(order.id, actor=self.ann)

    @rule(act=st.sampled_from(sorted({*MOVES, *RETURNS}, key=repr)), luck=luck)
    def something_happens(self, act: Act, luck: Random) -> None:
        self.somebody_else(act, luck)

    @rule(by_test=st.booleans())
    def resume(self, by_test: bool) -> None:
        if by_test:
            circuit_breaker.run_test(self.reloaded())
        else:
            circuit_breaker.resume(self.connection.id)

    @rule()
    def a_person_removes_foreign_files(self) -> None:
        self.tidy()
        for export in self.pending():
            deliver_again(export.id, actor=self.ann)

    # What happens at a place.
    def works(self, task: Callable[[], object], worker: Worker | None) -> None:
        """Let a worker do something until it is done or dies."""
        outer, self.worker = self.worker, worker
        try:
            with suppress(Died, SystemExit, Gone):
                task()
        finally:
            self.worker = outer

    def passes(self, place: str, when: When) -> Reason | None:
        """Meet what waits here; the answer is why the file is refused, if it is."""
        act = self.fate(place, when)
        return act and self.suffers(act, place)

    def fate(self, place: str, when: When) -> Act | None:
        worker = self.worker
        if worker is None:
            return None
        if worker.is_dead:
            raise Died
        if self.hidden and place in OPERATIONS and when is not When.HALFWAY:
            act = worker.luck.choice((None,) * 3 + RETURNS)
        elif worker.trials and worker.luck.randrange(ODDS[place]) < worker.peril:
            worker.trials -= 1
            # A transaction shuts others out; while it commits, Django calls it ended.
            is_alone = database.in_atomic_block or place == "commit"
            is_alone = is_alone or when is When.HALFWAY
            own = MISFORTUNES + (Act.REFUSE,) * (place in OPERATIONS)
            act = worker.luck.choice(own if is_alone else own + worker.moves)
        else:
            act = None
        if act is Act.VANISH:
            # Once per worker: no check can notice a folder that is gone twice in a few operations.
            act = None if worker.has_missed_folder else act
            worker.has_missed_folder = True
        if act:
            note(f"{place} {when.name}: {act.name}")
        return act

    def suffers(self, act: Act, place: str) -> Reason | None:
        worker = self.worker
        assert worker
        if act is Act.DIE:
            worker.is_dead = True
            raise Died
        if act is Act.TIME_OUT:
            raise SystemExit
        if act is Act.LOSE_ANSWER:
            raise ConnectorError("CONNECTION_LOST") if place in OPERATIONS else Gone
        if act is Act.REFUSE:
            return worker.luck.choice(REASONS)
        self.worker, self.is_amid = None, True
        try:
            self.somebody_else(act, worker.luck)
        finally:
            self.worker, self.is_amid = worker, False
        return None

    def somebody_else(self, act: Act, luck: Random) -> None:
        match act:
            case Act.ERP_TAKES:
                self.erp_takes()
            case Act.VANISH:
                staging = self.config.get("tmp_path", self.config["export_path"])
                self.vanish(luck.choice((self.config["export_path"], staging)))
            case Act.COME_BACK:
                self.come_back()
            case Act.RENEW:
                self.come_back(is_empty=True)
            case Act.OTHER_WORKER:
                self.time_passes()
                rival = Worker(luck, moves=(), trials=1, peril=4)
                self.works(lambda: protocol.deliver(self.connection.id), rival)
            case Act.CANCEL:
                for export in self.pending():
                    with suppress(RuleViolation):
                        cancel_export(export.id, actor=self.ann)
            case Act.GIVE_UP:
                with override_settings(EXPORT_GIVE_UP_HOURS=0):
                    cleanup.give_up()
            case Act.PAUSE:
                if luck.randrange(2):
                    circuit_breaker.pause(self.connection.id, reason="stock", actor=self.ann)
                else:
                    pause_by_system(self.reloaded(), "PERMISSION")
            case Act.RECONFIGURE:
                config = luck.choice(CONFIGS)
                with suppress(ConfigError):
                    change_config(self.reloaded(), config)
                    self.config = config
                    circuit_breaker.run_test(self.reloaded())
            case Act.FOREIGN_FILE:
                self.foreign_file()

    def opens(self, config: Any, **listeners: Any) -> Folder:
        return Folder(self)

    def queries(self, execute: Callable[..., T], sql: str, *args: Any) -> T:
        # The database rolls back the transaction, even though the worker is dead.
        if sql.startswith(("SAVEPOINT", "ROLLBACK", "RELEASE")):
            return execute(sql, *args)
        self.passes("query", When.BEFORE)
        result = execute(sql, *args)
        self.passes("query", When.AFTER)
        return result

    def commits(self, commit: Callable[[], None]) -> None:
        try:
            self.passes("commit", When.BEFORE)
        except BaseException:
            database.rollback()
            raise
        commit()
        self.passes("commit", When.AFTER)

    def time_passes(self, *, is_asked: bool = False) -> None:
        """Long enough for leases to run out and retries to be due.

        `is_asked`: a person asks for what waits for a decision, too.
        """
        ErpConnection.objects.filter(id=self.connection.id).update(lease_until=None, retry_at=None)
        waiting = self.pending() if is_asked else self.pending().exclude(next_attempt_at=None)
        waiting.update(next_attempt_at=db_now())

    # The dropzone and the ERP.
    def watching(self) -> "Watch":
        return Watch(self)

    def erp_takes(self) -> None:
        for path in self.seen.keys() & self.zone.files.keys():
            # No protocol survives a file that is taken while its second link still looks unsent.
            if path not in self.foreign and self.linked.get(path) in (None, *self.removed):
                del self.zone.files[path]

    def vanish(self, folder: str) -> None:
        self.tidy()
        if folder in self.zone.folders:
            inside = {p: c for p, c in self.zone.files.items() if posixpath.dirname(p) == folder}
            self.hidden[folder] = (self.zone.folders.pop(folder), inside)
            for path in inside:
                del self.zone.files[path]

    def come_back(self, *, is_empty: bool = False) -> None:
        is_empty = is_empty and not self.linked.keys() - self.removed
        for folder, (identity, files) in self.hidden.items():
            self.zone.folders[folder] = f"renewed:{next(self.renewed)}" if is_empty else identity
            if is_empty:
                self.foreign = {p: c for p, c in self.foreign.items() if p not in files}
            else:
                self.zone.files.update(files)
        self.hidden.clear()

    def foreign_file(self) -> None:
        """Somebody's file under the name of an export that has not appeared."""
        if self.is_amid and self.renames_over_files:
            return
        folder = self.config["export_path"]
        for export in self.pending():
            path = f"{folder}/{export.filename}"
            is_expected = export.staged_path in (None, *self.zone.files)
            if is_expected and folder in self.zone.folders and path not in self.seen:
                self.foreign[path] = self.zone.files[path] = b"not ours"

    def tidy(self) -> None:
        """Remove the foreign files that lie under names of ours."""
        for path in [path for path, content in self.foreign.items() if content == b"not ours"]:
            del self.foreign[path]
            self.zone.files.pop(path, None)

    # The promises.
    def expect(self, is_true: bool, promise: str) -> None:
        """Note a promise that was broken where an assertion would be caught."""
        if not is_true:
            self.broken.append(promise)

    @invariant()
    def promises_hold(self) -> None:
        assert self.broken == []
        exports = list(
            ErpExport.objects.filter(org=self.org).order_by("created_at").prefetch_related("events")
        )
        assert self.known.keys() <= {e.id for e in exports}
        for export in exports:
            self.check_history(export)
            self.check_sight(export)
        self.check_orders(exports)
        visible = {
            **self.zone.files,
            **{p: c for _, f in self.hidden.values() for p, c in f.items()},
        }
        assert self.foreign.items() <= visible.items(), "a foreign file was touched"

    def check_history(self, export: ErpExport) -> None:
        """What must never change has not, and the events tell what did."""
        before = self.known.get(export.id, export)
        self.known[export.id] = export
        frozen = ("filename", "content", "payload_sha256", "draft_order_id")
        for name in (*frozen, "approved_by_id", "approved_hash"):
            assert getattr(before, name) == getattr(export, name), name
        for name in ("staged_path", "staged_at", "destination"):
            assert getattr(before, name) in (None, getattr(export, name)), name
        assert (before.status, export.status) in LEGAL
        events = list(export.events.all())
        kinds = Counter(event.kind for event in events)
        assert export.approved_by_id and export.approved_hash, "pushed without an approval"
        assert events[0].kind == "CREATED" and events[-1].status == export.status
        for earlier, later in itertools.pairwise(events):
            assert (earlier.status, later.status) in LEGAL
            assert allows(later.kind, earlier.status, later.status)
        assert kinds["STAGED"] == (export.staged_path is not None)
        assert kinds["SENT"] == (export.status == "SENT")
        assert kinds["FAILED"] + kinds["CANCELLED"] == (export.status == "FAILED")
        assert not export.error_json or export.error_json["code"] != "INTERNAL"

    def check_sight(self, export: ErpExport) -> None:
        """What the ERP could see agrees with what the ledger says."""
        versions = [
            version
            for path, versions in self.seen.items()
            if posixpath.basename(path) == export.filename
            for version in versions
        ]
        assert len(versions) <= 1, "visible more than once"
        if export.status == "FAILED":
            assert versions == [], "failed, but visible"
        if export.status == "SENT":
            assert versions == [export.content], "sent, but not visible"
            assert export.dropzone_path in self.seen
        if versions:
            assert export.staged_path and export.destination, "visible, but not claimed"
            assert f"{export.destination['folder']}/{export.filename}" in self.seen
            is_partial = export.staged_path in self.seen
            assert versions[0] == export.content or is_partial, "visible, but not whole"
        elif export.staged_path:
            assert export.staged_path not in self.removed, "a claimed file was removed"

    def check_orders(self, exports: list[ErpExport]) -> None:
        live = [e for e in exports if e.status in ErpExport.LIVE]
        by_order = {e.draft_order_id: e.status for e in live}
        assert len(by_order) == len(live), "two live exports of an order"
        expected = {None: None, "PENDING": OrderStatus.PUSHING, "SENT": OrderStatus.PUSHED}
        for order in DraftOrder.objects.filter(org=self.org):
            is_out = order.status in (OrderStatus.PUSHING, OrderStatus.PUSHED)
            assert (order.status if is_out else None) == expected[by_order.get(order.id)]
            if order.status == OrderStatus.ERROR:
                assert any(e.draft_order_id == order.id for e in exports)

    def teardown(self) -> None:
        """Without further faults everything comes to an end, or waits for a good reason."""
        try:
            if sys.exception() is None:
                self.come_to_an_end()
        finally:
            self.patches.close()
            # The cleanup of later examples must not visit this connection.
            ErpConnection.objects.filter(org=self.org).update(
                paused_at=Now(),
                pause_code="THE_EXAMPLE_IS_OVER",
                pause_text="",
                paused_by=None,
                # Release the lease: it would occupy a degraded slot in later examples.
                lease_until=None,
                updated_at=Now(),
            )

    def come_to_an_end(self) -> None:
        self.come_back()
        self.tidy()
        for _ in range(2):
            circuit_breaker.resume(self.connection.id)
            self.time_passes(is_asked=True)
            self.works(lambda: protocol.deliver(self.connection.id), None)
            self.works(lambda: cleanup.clean_up(minimum_age=-cleanup.MINIMUM_AGE), None)
            self.promises_hold()
            if not self.pending():
                break
        waiting = list(self.pending())
        for export in waiting:
            assert export.error_json and export.staged_path, "an export is stuck"
            assert export.error_json["code"] in MAY_WAIT
            is_direct = export.staged_path.endswith(export.filename)
            code = "OUTCOME_UNKNOWN" if is_direct else "FOLDER_CHANGED"
            assert export.error_json["code"] == code
            assert is_direct or export.staged_path not in self.zone.files, "not rolled forward"
        ours = {p for p in self.zone.files.keys() - self.foreign.keys() if p.endswith(".tmp")}
        assert ours == set(), "staging files are left"

    def pending(self) -> Any:
        return ErpExport.objects.filter(org=self.org, status="PENDING").order_by("created_at")

    def reloaded(self) -> ErpConnection:
        return ErpConnection.objects.get(id=self.connection.id)


class Watch:
    """Notes what becomes visible, and what must not happen, while we act on the zone."""

    def __init__(self, machine: Deliveries) -> None:
        self._machine = machine
        self._before = dict(machine.zone.files)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc_info: object) -> None:
        machine, before = self._machine, self._before
        after = machine.zone.files
        for path, content in after.items():
            if path.endswith(".json") and path not in before:
                machine.seen[path].append(content)
            machine.expect(before.get(path, content) == content, f"{path} was overwritten")
        for path in before.keys() - after.keys():
            machine.expect(not path.endswith(".json"), f"{path} was removed by us")
        if machine.is_eager:
            machine.erp_takes()


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("examples", [20, pytest.param(300, marks=pytest.mark.long)])
def test_no_promise_is_broken_whatever_happens(examples: int) -> None:
    run_state_machine_as_test(
        Deliveries, settings=Settings(max_examples=examples, stateful_step_count=8)
    )

"""The ERP: it takes each order as soon as it appears, and records everything it sees.

It reads the kernel's events of the folders (inotify). So it also sees a file that appears twice or
is changed while it is visible, even if that file is there too briefly for a listing.
"""

import ctypes
import hashlib
import json
import os
import random
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_MODIFY, _MOVED_TO, _CREATE, _OVERFLOW = 0x2, 0x80, 0x100, 0x4000
_EVENT = struct.Struct("iIII")


def consume(folders: list[Path], record: Path, seed: int) -> None:
    """Take `*.json` from the folders until killed, and write what was seen as JSON lines.

    A line is {"at", "name", "what"}. `what` is `appeared`, `taken` (with the file's "sha256"),
    `changed` (while it was visible) or `overflow` (the kernel has lost events).
    """
    chance = random.Random(seed)
    with record.open("a", buffering=1) as lines:

        def note(what: str, name: str = "", **more: Any) -> None:
            lines.write(json.dumps({"at": time.time(), "name": name, "what": what, **more}) + "\n")

        descriptor, watched = _watch(folders)
        note("ready")
        for watch, mask, name in _events(descriptor):
            if mask & _OVERFLOW:
                note("overflow")
            if not name.endswith(".json"):
                continue
            if mask & _MODIFY:
                note("changed", name)
                continue
            note("appeared", name)
            if chance.random() < 0.03:
                # A slow ERP: until it goes on, files stay in the folder and delivery finds them.
                time.sleep(chance.uniform(0, 0.5))
            _take(watched[watch] / name, note)


def _take(path: Path, note: Any) -> None:
    # Move the file out of the folder before reading it: no later write can replace it then.
    mine = path.parent.parent / "taken" / path.name
    try:
        path.rename(mine)
    except FileNotFoundError:
        return
    note("taken", path.name, sha256=hashlib.sha256(mine.read_bytes()).hexdigest())
    mine.unlink()


def _watch(folders: list[Path]) -> tuple[int, dict[int, Path]]:
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(os.O_CLOEXEC)
    mask = _MODIFY | _MOVED_TO | _CREATE
    watched = {
        libc.inotify_add_watch(descriptor, os.fsencode(folder), mask): folder for folder in folders
    }
    if descriptor < 0 or min(watched) < 0:
        raise OSError(ctypes.get_errno(), "inotify")
    return descriptor, watched


def _events(descriptor: int) -> Iterator[tuple[int, int, str]]:
    """Yield the watch, the mask and the file name of each event."""
    while True:
        data = os.read(descriptor, 65_536)
        while data:
            watch, mask, _, size = _EVENT.unpack_from(data)
            name = data[_EVENT.size : _EVENT.size + size].rstrip(b"\0")
            data = data[_EVENT.size + size :]
            yield watch, mask, os.fsdecode(name)

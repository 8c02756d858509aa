"""Files per second: the folder engine and other tools, with a short and a long round trip."""

import os
import shutil
import statistics
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from tests.support.dropzones import openssh_config
from tests.support.servers import OpenSSHServer, TcpProxy
from tests.support.servers.process import scratch_folder

from .contenders import Contender, DjangoStorages, Engine, Lftp, Rclone, Sftp, SyncingSftp
from .measuring import report, seconds_of

ROUNDS = 3
FILE_BYTES = 50_000
ONE_WAY = 0.025  # seconds
# Enough files that each contender takes a few seconds.
NEAR = {Sftp: 512, SyncingSftp: 512, Lftp: 256, Rclone: 256, DjangoStorages: 32, Engine: 1024}
FAR = {Sftp: 12, SyncingSftp: 12, Lftp: 48, Rclone: 48, DjangoStorages: 12, Engine: 256}


def measure() -> None:
    sources = scratch_folder("bench-files")
    files = [sources / f"order_{number}.json" for number in range(max(NEAR.values()))]
    for file in files:
        file.write_bytes(b"x" * FILE_BYTES)
    with OpenSSHServer() as server, TcpProxy(server.host, server.port, latency=ONE_WAY) as proxy:
        near = _compare(server, openssh_config(server), {k: files[:n] for k, n in NEAR.items()})
        _report("loopback", near, target=3 * near[Sftp] if Sftp in near else None)
        config = openssh_config(server, port=proxy.port)
        far = _compare(server, config, {k: files[:n] for k, n in FAR.items()})
        _report(f"{2000 * ONE_WAY:g} ms away", far, target=200)


def _compare(
    server: OpenSSHServer, config: Mapping[str, Any], files: Mapping[type[Contender], list[Path]]
) -> dict[type[Contender], float]:
    """Return the files per second of the installed contenders, without login: medians of rounds.

    They take turns, so that a busy moment of the machine affects all of them.
    """
    contenders = {
        kind: kind(config, scratch_folder("contender")) for kind in files if kind.is_installed()
    }
    logins: dict[type[Contender], list[float]] = {kind: [] for kind in contenders}
    sends: dict[type[Contender], list[float]] = {kind: [] for kind in contenders}
    for _ in range(ROUNDS):
        for kind, contender in contenders.items():
            # Sync first, so that no contender waits for the writes of another.
            os.sync()
            logins[kind].append(seconds_of(contender.log_in))
            sends[kind].append(seconds_of(partial(contender.send, files[kind])))
            _check_and_clear(server.root / "exports", files[kind])
    return {
        kind: len(files[kind]) / (statistics.median(sends[kind]) - statistics.median(logins[kind]))
        for kind in contenders
    }


def _check_and_clear(exports: Path, files: list[Path]) -> None:
    arrived = {path.name: path.stat().st_size for path in exports.iterdir()}
    assert arrived == {file.name: FILE_BYTES for file in files}, "not everything has arrived"
    shutil.rmtree(exports)
    exports.mkdir()


def _report(where: str, rates: Mapping[type[Contender], float], *, target: float | None) -> None:
    engine = rates[Engine]
    for kind in NEAR:
        name = f"50 KB files, atomic, {where}: {kind.name}"
        if kind is Engine:
            met = None if target is None else engine >= target
            report(name, files_per_s=round(engine), target=target and round(target), met=met)
        elif kind in rates:
            ratio = round(engine / rates[kind], 1)
            report(name, files_per_s=round(rates[kind], 1), engine_ratio=ratio)
        else:
            report(name, files_per_s=None, note=f"not measured: {kind.program} is missing")

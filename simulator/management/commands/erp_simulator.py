"""Run a simulated ERP on a dropzone of this machine."""

import json
import signal
import threading
from argparse import ArgumentParser
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from connectors import registry
from connectors.port import ConfigError
from simulator.erp import ErpSimulator
from simulator.playground import CONNECTOR, playground, sftp_server
from simulator.script import DEFAULT_SCRIPT, Script, ScriptError


class Command(BaseCommand):
    help = "Play an ERP until Ctrl-C: take orders from a dropzone on this machine, answer them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--folder",
            type=Path,
            default=settings.VAR_DIR / "erp",
            help="where the dropzone and the ERP keep their files (default: %(default)s)",
        )
        parser.add_argument(
            "--sftp", action="store_true", help="serve the dropzone by SFTP, on loopback"
        )
        parser.add_argument(
            "--port", type=int, help="of the SFTP server (default: the last one, or a free one)"
        )
        parser.add_argument(
            "--script",
            type=Path,
            default=DEFAULT_SCRIPT,
            help="a TOML file that says how orders are answered (default: %(default)s)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["port"] is not None and not options["sftp"]:
            raise CommandError("--port is the SFTP server's: it needs --sftp.")
        try:
            script = Script.load(options["script"])
        except ScriptError as e:
            raise CommandError(str(e)) from e
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            # A signal handler must not do more: it may interrupt anything.
            signal.signal(number, lambda *_: stop.set())
        folder: Path = options["folder"].resolve()
        exports, acks = folder / "dropzone/exports", folder / "dropzone/acks"
        with ExitStack() as stack:
            stack.enter_context(playground(folder))
            for path in (exports, acks):
                path.mkdir(parents=True, exist_ok=True)
            if options["sftp"]:
                try:
                    config = stack.enter_context(sftp_server(folder, options["port"])).config
                except OSError as e:
                    raise CommandError(f"The SFTP server did not start: {e}") from e
            else:
                config = {
                    "mode": "filesystem",
                    "export_path": str(exports),
                    "ack_path": str(acks),
                }
            self._introduce(config, folder / "connection.json")
            erp = ErpSimulator(
                exports=exports,
                acks=acks,
                script=script,
                home=folder / "erp",
                report=self.stdout.write,
            )
            self.stdout.write("\nThe ERP is waiting for orders. Stop it with Ctrl-C.\n")
            erp.run(stop)
        self.stdout.write("stopped")

    def _introduce(self, config: dict[str, Any], file: Path) -> None:
        """Show a connection to the dropzone as the admin's form wants it, and save it as JSON."""
        connector = registry.get_connector(CONNECTOR)
        self.stdout.write("A connection to it, as the form in the admin wants it:\n\n")
        for field in connector.config_form:
            if field.name in config:
                value = config[field.name]
                text = "\n".join(value) if isinstance(value, list) else str(value)
                gap = "\n" if field.is_multiline else " "
                self.stdout.write(f"{field.label}:{gap}{dict(field.choices).get(text, text)}")
        file.touch(mode=0o600)
        file.write_text(json.dumps(config, indent=2))
        self.stdout.write(f"\nThe same as JSON: {file}")
        try:
            connector.parse_config(config)
        except ConfigError as e:
            self.stderr.write(f"This service would not accept it with its present settings: {e}")

"""The fields of a dropzone's configuration, as forms show them and people fill them in."""

from typing import Final

from connectors.port import ConfigField

_SFTP: Final = frozenset({"sftp"})

FIELDS: Final = (
    ConfigField(
        name="mode",
        kind="choice",
        label="Mode",
        is_required=True,
        is_identity=True,
        is_server=True,
        choices=(("sftp", "SFTP server"), ("filesystem", "Mounted folder")),
    ),
    ConfigField(
        name="host",
        kind="text",
        label="Host",
        modes=_SFTP,
        is_required=True,
        is_identity=True,
        is_server=True,
    ),
    ConfigField(
        name="port",
        kind="integer",
        label="Port",
        modes=_SFTP,
        is_identity=True,
        is_server=True,
        default=22,
        minimum=1,
        maximum=65535,
    ),
    ConfigField(
        name="username",
        kind="text",
        label="User name",
        modes=_SFTP,
        is_required=True,
        is_identity=True,
        is_server=True,
    ),
    ConfigField(
        name="password",
        kind="secret",
        label="Password",
        modes=_SFTP,
        help="A password or a private key is needed. With both, the key goes first.",
    ),
    ConfigField(
        name="ssh_key",
        kind="secret",
        label="Private key",
        modes=_SFTP,
        is_multiline=True,
        help="The whole private key in OpenSSH or PEM form: Ed25519, ECDSA or RSA.",
    ),
    ConfigField(
        name="key_passphrase", kind="secret", label="Passphrase of the private key", modes=_SFTP
    ),
    ConfigField(
        name="host_keys",
        kind="lines",
        label="Pinned host keys",
        modes=_SFTP,
        is_multiline=True,
        holds_host_keys=True,
        help="One public key a line, like “ssh-ed25519 AAAA…”. The connection test shows the "
        "server's key for you to compare and pin.",
    ),
    ConfigField(
        name="export_path",
        kind="path",
        label="Export folder",
        is_required=True,
        is_identity=True,
        help="Where the ERP picks up orders; an absolute path.",
    ),
    ConfigField(
        name="ack_path",
        kind="path",
        label="Ack folder",
        help="Where the ERP writes its answers; empty if it writes none.",
    ),
    ConfigField(
        name="tmp_path",
        kind="path",
        label="Staging folder",
        is_identity=True,
        help="Where files are written before they are moved into the export folder; on the same "
        "file system. Empty: the export folder itself, under names ending in .tmp.",
    ),
    ConfigField(
        name="atomic_write",
        kind="boolean",
        label="Atomic write",
        is_identity=True,
        default=True,
        help="Write under a temporary name, then rename. Without it the ERP may read a file that "
        "is still being written, and after a crash a person must find out what arrived.",
    ),
    ConfigField(
        name="file_mode",
        kind="text",
        label="File mode",
        help="Octal permissions of new files, like 0640; empty: the server's default.",
    ),
    ConfigField(
        name="connect_timeout",
        kind="number",
        label="Connect timeout (seconds)",
        modes=_SFTP,
        default=10,
        minimum=1,
        maximum=20,
    ),
    ConfigField(
        name="operation_timeout",
        kind="number",
        label="Operation timeout (seconds)",
        modes=_SFTP,
        default=30,
        minimum=1,
        maximum=30,
    ),
)

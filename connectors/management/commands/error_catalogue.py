"""Print the error catalogue as docs/errors.md has it."""

from typing import Any

from django.core.management.base import BaseCommand

from connectors import registry
from connectors.errors import CATALOGUE, Kind

_HEAD = """\
# Error codes

Every error of reaching and serving a dropzone has a stable code. It stands in an export's
`error_json`, in the last error of its connection and in the log. This page is made by
`manage.py error_catalogue`.

To check an error of a connection, *Test connection…* on its page, or run
`manage.py test_connection ID` with the ID from the address of that page: it does what a delivery
does, and says which step fails and how long each takes. HOST, PORT, USER and FOLDER below are those
of the connection. Commands run on a worker's host unless another place is named; those for the
server are OpenSSH's.
"""
_KINDS = {
    Kind.REACH: (
        "The server could not be reached",
        "Transient. Counts on the connection: it is tried again after 5 s, doubling to 10 min; "
        "then one export goes ahead and the others follow.",
    ),
    Kind.FILE: (
        "One file failed",
        "Transient. Counts on the export: tried again after 5 s, 30 s, 2 min, 10 min, 30 min, then "
        "hourly. Other exports are not held up, and by answers or the archive none is.",
    ),
    Kind.DESTINATION: (
        "The connection needs a change",
        "The connection is paused. Its exports wait, showing the error, and go when a test passes.",
    ),
    Kind.ORDER: (
        "The export can never succeed",
        "The export fails now and its order shows the reason.",
    ),
    Kind.DECISION: (
        "Nobody can know what happened",
        "The export stays pending and nothing is tried again until a person decides.",
    ),
}
# Where to look: what the catalogue, which people see beside an error, has no room for.
_CHECKS = {
    "DNS": "`getent hosts HOST` prints the address, or nothing. Try it on another machine, too.",
    "CONNECT_REFUSED": "`nc -vz HOST PORT`. On the server, `ss -ltn` lists the ports that are "
    "served.",
    "CONNECT_TIMEOUT": "`nc -vz HOST PORT`. If it hangs, a firewall drops it or the host is down; "
    "if it connects, the server is slow: see how long each step of the connection test takes.",
    "CONNECTION_LOST": "The connection's page says when. On the server, `journalctl -u ssh` says "
    "who ended it.",
    "SERVER_PROTOCOL_ERROR": "`ssh-keyscan -p PORT HOST` prints keys if an SSH server answers. "
    "`sftp -P PORT USER@HOST` says `Received message too long` if the login prints something.",
    "ALGO_MISMATCH": "The error says what the server offers. On the server, `sshd -T | grep -iE "
    "'kex|hostkeyalg|ciphers|macs'`.",
    "ADDRESS_DENIED": "The error names the address; `getent hosts HOST` prints all of them. One "
    "that is denied is enough.",
    "HOST_KEY_UNKNOWN": "On the server itself, not over the network: `for f in "
    "/etc/ssh/ssh_host_*.pub; do ssh-keygen -lf $f; done`.",
    "HOST_KEY_CHANGED": "The error has both fingerprints. On the server itself, `for f in "
    "/etc/ssh/ssh_host_*.pub; do ssh-keygen -lf $f; done`. Was it set up anew or moved?",
    "AUTH_FAILED": "The connection's page says which key or password is set, since when and by "
    "whom. On the server, `journalctl -u ssh` says why it refused, and `ssh-keygen -lf "
    "~USER/.ssh/authorized_keys` must list the fingerprint of the key.",
    "AUTH_METHOD": "The error says what the server takes. On the server, `sshd -T -C user=USER | "
    "grep -i authentication`.",
    "KEY_UNREADABLE": "`ssh-keygen -yf FILE`, where the key lies, must print a public key. "
    "`puttygen FILE -O private-openssh -o NEW` converts a `.ppk` of PuTTY, `ssh-keygen -p -f FILE` "
    "a key that is encrypted in an unusual way.",
    "KEY_PASSPHRASE": "`ssh-keygen -yf FILE`, where the key lies, asks for the passphrase and "
    "prints the public key if it is right.",
    "NO_SFTP_SUBSYSTEM": "`sftp -P PORT USER@HOST` fails as well. On the server, `sshd -T | grep "
    "-i subsystem`.",
    "TOO_MANY_SESSIONS": "The error says what the server said. On the server, `sshd -T | grep -i "
    "max` and `journalctl -u ssh`; of ProFTPD, the options `MaxClients`, `MaxClientsPerHost`, "
    "`MaxClientsPerUser` and `MaxConnectionsPerHost`.",
    "CONFIG_UNREADABLE": "All connections have it: this process was started with other "
    "`FERNET_KEYS` than the one that wrote them; compare the hosts. One has it: its row was "
    "written with a key that was taken away.",
    "CONFIG_INVALID": "The error names the field; the connection's form says it too when it is "
    "saved.",
    "PATH_DENIED": "The error names the folder. `realpath FOLDER` shows where it really lies: "
    "links count as what they lead to. Web server and workers need the same `DROPZONE_ROOTS`.",
    "DIR_MISSING": "The error names the folder. `sftp -P PORT USER@HOST`, then `ls FOLDER`: a "
    "server that locks users into a folder shows them other paths. Mounted: `findmnt -T FOLDER`.",
    "PERMISSION": "The connection test says which step is refused. `sftp -P PORT USER@HOST`, then "
    "`put` a file into the folder, `rename` and `rm` it. Mounted: the same as the worker's user; "
    "under systemd, is it one of `ReadWritePaths`?",
    "NO_RENAME": "`sftp -P PORT USER@HOST`, then `put` a file into the folder and `rename` it.",
    "NO_SIZE": "`sftp -P PORT USER@HOST`, then `ls -l FOLDER`: no sizes.",
    "NO_SPACE": "On the server, `df -h FOLDER`, `df -i FOLDER` and `quota -u USER`. Often the ERP "
    "has stopped taking files away.",
    "REMOTE_FAILURE": "The export's timeline says when. On the server, `journalctl -u ssh` at "
    "that time, `df -h FOLDER`, `df -i FOLDER` and `quota -u USER`.",
    "CORRUPT_WRITE": "`sftp -P PORT USER@HOST`, then `put` a file of several lines into the "
    "folder, `get` it under another name and `cmp` the two.",
    "NAME_CONFLICT": "`sha256sum` of the file that lies there is another one than the *payload "
    "sha256* on the export's page. Who owns it, and when was it written?",
    "FOLDER_CHANGED": "*Staged in*, on the export's page, is the folder as it was then. Has it "
    "been moved or made anew? Mounted: does `findmnt -T FOLDER` show the right disk?",
    "OUTCOME_UNKNOWN": "Does the file lie in the export folder, with the *payload size* and "
    "*payload sha256* of the export's page? If not, has the ERP an order with this number?",
    "UNTRACED": "*ERP exports*, filtered by *needs a decision*, lists them all. Has the ERP an "
    "order with this number?",
    "NOT_EXPORTABLE": "*Push…* on the order's page says what in it cannot be written.",
    "CANCELLED": "The export's timeline says who cancelled it, and when.",
    "NOT_DELIVERED": "The export's timeline says who found that out, when, and how.",
    "GIVEN_UP": "The export's timeline: the system did so after `EXPORT_GIVE_UP_HOURS` without "
    "reaching the server, or a person did, with the reason.",
    "ERP_REFUSED": "The export's page shows what the ERP said and the file in which it did.",
    "ACK_MOVE_FAILED": "The answers have been counted. `sftp -P PORT USER@HOST`, then `rename` a "
    "file of the ack folder into its folder `processed`.",
    "ARCHIVE_FAILED": "Deliveries do not wait for it. The worker's log, at `archive:`, says the "
    "cause; `manage.py verify_archive --limit 1` tries to read.",
    "ARCHIVE_MISSING": "`manage.py verify_archive` names each object that is missing. No delivery "
    "needs it.",
    "ARCHIVE_CORRUPT": "The worker's log, at `archive:`, names the key. Each export is read back "
    "after it was stored; what differed was removed again. Put a file into the bucket with another "
    "program and compare what comes back.",
    "ARCHIVE_CONFLICT": "The worker's log, at `archive:`, names the key. The SHA-256 of the right "
    "bytes is part of it: compare with that of the object. The export itself is delivered all the "
    "same.",
    "INTERNAL": "The worker's log has a line with `INTERNAL`, the correlation id and the "
    "connection's id; its `exc_info` is the cause.",
}
_ACKS = """
## An answer of the ERP cannot be understood

The file is moved to `error/` and shown in the ack inbox, with what its writer has to mend. A file
with a foreign name stays where it is.

- **Check:** `manage.py check_ack FILE`, with a copy of the file under its own name, says what is
  made of it.
- **Do** (ERP admin): Correct the program that writes the answers and write this one again; then
  dismiss the malformed one.

| code | what it says |
| --- | --- |
"""


class Command(BaseCommand):
    help = "Print the error catalogue in Markdown."

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(render(), ending="")


def render() -> str:
    """The catalogue in Markdown, by kind, then what can be wrong with an answer."""
    parts = [_HEAD]
    for kind, (title, meaning) in _KINDS.items():
        parts.append(f"\n## {title}\n\n{meaning}\n")
        parts += [
            f"\n### {code}\n\n{spec.message}\n\n"
            f"- **Check:** {_CHECKS[code]}\n- **Do** ({spec.owner}): {spec.hint}\n"
            for code, spec in CATALOGUE.items()
            if spec.kind is kind
        ]
    parts.append(_ACKS)
    meanings = {code: text for c in registry.connectors() for code, text in c.ack_errors.items()}
    parts += [f"| `{code}` | {sentence} |\n" for code, sentence in meanings.items()]
    return "".join(parts)

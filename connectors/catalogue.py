"""Every error of reaching and serving a dropzone: its kind, owner, meaning, check and action."""

from enum import StrEnum, unique
from typing import Final, NamedTuple


@unique
class Kind(StrEnum):
    """What an error says about the next attempt."""

    REACH = "reach"  # the server could not be reached: transient, counts on the connection
    FILE = "file"  # one file failed: transient, counts on the export
    DESTINATION = "destination"  # the connection needs a change: it is paused
    ORDER = "order"  # this export can never succeed: it fails now
    DECISION = "decision"  # the outcome is unknown: a person decides


@unique
class Owner(StrEnum):
    """Who can fix it."""

    OPERATOR = "operator"
    ERP_TEAM = "ERP team"
    ORDER_TEAM = "order team"
    SUPPORT = "support"


# Errors that former releases have stored name these owners.
FORMER_OWNERS: Final = {
    "ERP admin": Owner.ERP_TEAM,
    "order data": Owner.ORDER_TEAM,
    "us": Owner.SUPPORT,
}


class ErrorSpec(NamedTuple):
    """The texts end with a full stop; `check` may have commands in backticks."""

    kind: Kind
    owner: Owner
    message: str
    check: str
    action: str


CATALOGUE: Final[dict[str, ErrorSpec]] = {
    # Reaching the server.
    "DNS": ErrorSpec(
        Kind.REACH,
        Owner.OPERATOR,
        "The host name could not be resolved.",
        "`getent hosts HOST` prints the address, or nothing if the name is unknown. Try it on"
        " another machine too.",
        "Check the host name of the connection.",
    ),
    "CONNECT_REFUSED": ErrorSpec(
        Kind.REACH,
        Owner.ERP_TEAM,
        "The server refuses connections on this port.",
        "`nc -vz HOST PORT`. On the server, `ss -ltn` lists the ports that are served.",
        "Check host and port, and that the SFTP server is running.",
    ),
    "CONNECT_TIMEOUT": ErrorSpec(
        Kind.REACH,
        Owner.ERP_TEAM,
        "The server did not answer in time.",
        "`nc -vz HOST PORT`. If it hangs, a firewall drops the packets or the host is down. "
        "If it connects, the server is slow: the connection test shows the time of each step.",
        "Check host, port and firewalls between here and the server.",
    ),
    "CONNECTION_LOST": ErrorSpec(
        Kind.REACH,
        Owner.ERP_TEAM,
        "The connection to the server broke.",
        "The connection's page says when. On the server, `journalctl -u ssh` says who ended it.",
        "Nothing to do: the service tries again. If it happens often, check the server's log.",
    ),
    "SERVER_PROTOCOL_ERROR": ErrorSpec(
        Kind.REACH,
        Owner.ERP_TEAM,
        "The server does not speak SFTP as expected.",
        "`ssh-keyscan -p PORT HOST` prints keys if an SSH server answers. `sftp -P PORT "
        "USER@HOST` says `Received message too long` if the login prints something.",
        "Check that host and port lead to an SFTP server and that its login prints nothing.",
    ),
    "ALGO_MISMATCH": ErrorSpec(
        Kind.DESTINATION,
        Owner.ERP_TEAM,
        "The server and this service share no secure algorithm.",
        "The error says what the server offers. On the server, `sshd -T | grep -iE "
        "'kex|hostkeyalg|ciphers|macs'`.",
        "Enable a current key exchange, host key and cipher on the server.",
    ),
    "ADDRESS_DENIED": ErrorSpec(
        Kind.DESTINATION,
        Owner.OPERATOR,
        "The host leads to an address that connections must not use.",
        "The error names the address; `getent hosts HOST` prints all of them. One denied "
        "address is enough.",
        "Use the public or internal address of the dropzone, or change SFTP_DENIED_NETWORKS.",
    ),
    "HOST_KEY_UNKNOWN": ErrorSpec(
        Kind.DESTINATION,
        Owner.OPERATOR,
        "The server's host key is not pinned yet.",
        "On the server itself, not over the network: `for f in /etc/ssh/ssh_host_*.pub; do "
        "ssh-keygen -lf $f; done`.",
        "Compare the fingerprint with the one from the ERP team, then pin it.",
    ),
    "HOST_KEY_CHANGED": ErrorSpec(
        Kind.DESTINATION,
        Owner.OPERATOR,
        "The server shows another host key than the pinned one. No password was sent.",
        "The error has both fingerprints. On the server itself, `for f in "
        "/etc/ssh/ssh_host_*.pub; do ssh-keygen -lf $f; done`. Was it set up anew or moved?",
        "Ask the ERP team whether they changed the key. If they did, pin the new one.",
    ),
    "AUTH_FAILED": ErrorSpec(
        Kind.DESTINATION,
        Owner.OPERATOR,
        "The server refused the user name, the password or the key.",
        "The connection's page says which key or password is set, since when and by whom. On "
        "the server, `journalctl -u ssh` says why the login failed, and `ssh-keygen -lf "
        "~USER/.ssh/authorized_keys` must list the fingerprint of the key.",
        "Correct the credentials and test the connection. Until then the service does not log"
        " in again, so the account is not locked.",
    ),
    "AUTH_METHOD": ErrorSpec(
        Kind.DESTINATION,
        Owner.OPERATOR,
        "The server does not offer the configured login method.",
        "The error says what the server offers. On the server, `sshd -T -C user=USER | grep "
        "-i authentication`.",
        "Configure one of the login methods that the server offers.",
    ),
    "KEY_UNREADABLE": ErrorSpec(
        Kind.DESTINATION,
        Owner.OPERATOR,
        "The private key cannot be read.",
        "`ssh-keygen -yf FILE`, on the machine that has the key, must print a public key. "
        "`puttygen FILE -O private-openssh -o NEW` converts a `.ppk` of PuTTY; `ssh-keygen -p"
        " -f FILE` re-encrypts a key.",
        "Paste the whole private key in OpenSSH or PEM form: Ed25519, ECDSA or RSA.",
    ),
    "KEY_PASSPHRASE": ErrorSpec(
        Kind.DESTINATION,
        Owner.OPERATOR,
        "The passphrase does not fit the private key.",
        "`ssh-keygen -yf FILE`, on the machine that has the key, asks for the passphrase and "
        "prints the public key if it is right.",
        "Set key_passphrase to the passphrase of this key.",
    ),
    "NO_SFTP_SUBSYSTEM": ErrorSpec(
        Kind.DESTINATION,
        Owner.ERP_TEAM,
        "The server offers no SFTP.",
        "`sftp -P PORT USER@HOST` fails as well. On the server, `sshd -T | grep -i subsystem`.",
        "Enable the sftp subsystem for this user.",
    ),
    "TOO_MANY_SESSIONS": ErrorSpec(
        Kind.REACH,
        Owner.ERP_TEAM,
        "The server accepts no further session.",
        "The error says what the server said. On the server, `sshd -T | grep -i max` and "
        "`journalctl -u ssh`; of ProFTPD, the options `MaxClients`, `MaxClientsPerHost`, "
        "`MaxClientsPerUser` and `MaxConnectionsPerHost`.",
        "Nothing to do: the service tries again. If it happens often, allow more sessions for"
        " this user and host: two for each worker process are enough.",
    ),
    # The configuration.
    "CONFIG_UNREADABLE": ErrorSpec(
        Kind.DESTINATION,
        Owner.OPERATOR,
        "The stored configuration cannot be decrypted.",
        "If all connections show it, this process has other `FERNET_KEYS` than the process "
        "that wrote them: compare the hosts. If one connection shows it, the key that "
        "encrypted it was removed.",
        "Restore the missing key in FERNET_KEYS, or enter the configuration again.",
    ),
    "CONFIG_INVALID": ErrorSpec(
        Kind.DESTINATION,
        Owner.OPERATOR,
        "The stored configuration is not valid.",
        "The error names the field. The connection's form shows it too when you save.",
        "Correct it in the connection's form.",
    ),
    "PATH_DENIED": ErrorSpec(
        Kind.DESTINATION,
        Owner.OPERATOR,
        "The folder is outside the folders that dropzones may use.",
        "The error names the folder. `realpath FOLDER` shows the real path: links are "
        "resolved first. The web server and the workers need the same `DROPZONE_ROOTS`.",
        "Use a folder below one of DROPZONE_ROOTS, or add its root to that setting.",
    ),
    # The folder.
    "DIR_MISSING": ErrorSpec(
        Kind.DESTINATION,
        Owner.ERP_TEAM,
        "The folder does not exist.",
        "The error names the folder. `sftp -P PORT USER@HOST`, then `ls FOLDER`: a server "
        "with chroot shows other paths. Mounted folder: `findmnt -T FOLDER`.",
        "Create the folder on the server, or correct the path.",
    ),
    "PERMISSION": ErrorSpec(
        Kind.DESTINATION,
        Owner.ERP_TEAM,
        "The server does not permit this in the folder.",
        "The connection test says which step fails. `sftp -P PORT USER@HOST`, then `put` a "
        "file into the folder, `rename` and `rm` it. Mounted folder: do the same as the "
        "worker's user; under systemd the folder must be one of `ReadWritePaths`.",
        "Give the user the right to create, rename and delete files there.",
    ),
    "NO_RENAME": ErrorSpec(
        Kind.DESTINATION,
        Owner.ERP_TEAM,
        "The server does not let files be renamed.",
        "`sftp -P PORT USER@HOST`, then `put` a file into the folder and `rename` it.",
        "Permit rename for this user. Or switch atomic_write off; then the ERP may read a "
        "file before it is complete.",
    ),
    "NO_SIZE": ErrorSpec(
        Kind.DESTINATION,
        Owner.ERP_TEAM,
        "The server does not report file sizes, so it cannot be checked that a file is complete.",
        "`sftp -P PORT USER@HOST`, then `ls -l FOLDER` shows no sizes.",
        "Let the server report sizes (stat), or use another SFTP server.",
    ),
    # One file.
    "NO_SPACE": ErrorSpec(
        Kind.FILE,
        Owner.ERP_TEAM,
        "The disk of the dropzone is full.",
        "On the server, `df -h FOLDER`, `df -i FOLDER` and `quota -u USER`. A common cause: "
        "the ERP no longer picks files up.",
        "Free some space. The service tries again.",
    ),
    "REMOTE_FAILURE": ErrorSpec(
        Kind.FILE,
        Owner.ERP_TEAM,
        "The server reported a failure without a reason.",
        "The export's timeline says when. On the server, `journalctl -u ssh` at that time, "
        "`df -h FOLDER`, `df -i FOLDER` and `quota -u USER`.",
        "Check the server's log for a quota, a full disk or a policy.",
    ),
    "CORRUPT_WRITE": ErrorSpec(
        Kind.FILE,
        Owner.ERP_TEAM,
        "The size or content of the file on the server differs from what was written.",
        "`sftp -P PORT USER@HOST`, then `put` a file of several lines into the folder, `get` "
        "it under another name and `cmp` the two.",
        "Check the server for text mode or filters that change files.",
    ),
    "NAME_CONFLICT": ErrorSpec(
        Kind.DECISION,
        Owner.OPERATOR,
        "Another file with this export's name is in the folder. Nothing was overwritten.",
        "`sha256sum` of the file in the folder differs from *payload sha256* on the export's "
        "page. Check its owner and its time.",
        "Find out who wrote that file. Remove or rename it, then choose “Try again now”.",
    ),
    "FOLDER_CHANGED": ErrorSpec(
        Kind.FILE,
        Owner.OPERATOR,
        "The folder is missing, or it is not the folder in which the file was staged.",
        "*Staged in*, on the export's page, is the folder as it was then. Check whether it "
        "was moved or created again. Mounted folder: `findmnt -T FOLDER` must show the right "
        "disk.",
        "Restore the folder or mount; the service tries again. If that is not possible, "
        "resolve the export manually.",
    ),
    "OUTCOME_UNKNOWN": ErrorSpec(
        Kind.DECISION,
        Owner.OPERATOR,
        "It is not known whether the ERP has the complete file.",
        "Look for the file in the export folder and compare it with *payload size* and "
        "*payload sha256* on the export's page. If it is not there, ask whether the ERP has "
        "an order with this number.",
        "Ask the ERP team whether the order arrived, then resolve the export manually.",
    ),
    "UNTRACED": ErrorSpec(
        Kind.DECISION,
        Owner.OPERATOR,
        "The database was restored. It is not known whether the export was sent before.",
        "*ERP exports*, filtered by *needs a decision*, lists these exports. Ask whether the "
        "ERP has an order with this number.",
        "Ask the ERP team whether the order arrived. If it did, resolve the export manually. "
        "If not, choose “Try again now”.",
    ),
    # The order and its export.
    "NOT_EXPORTABLE": ErrorSpec(
        Kind.ORDER,
        Owner.ORDER_TEAM,
        "The order cannot be written as a document.",
        "*Push…* on the order's page says which part cannot be written.",
        "Correct the order, approve it and push it again.",
    ),
    "CANCELLED": ErrorSpec(
        Kind.ORDER,
        Owner.OPERATOR,
        "The export was cancelled before anything was sent.",
        "The export's timeline says who cancelled it, and when.",
        "Push the order again.",
    ),
    "NOT_DELIVERED": ErrorSpec(
        Kind.ORDER,
        Owner.OPERATOR,
        "A person found that the file was not delivered.",
        "The export's timeline says who said so, when, and the reason.",
        "Retry the order.",
    ),
    "GIVEN_UP": ErrorSpec(
        Kind.ORDER,
        Owner.OPERATOR,
        "The export was given up.",
        "The export's timeline says who gave it up: the system after `EXPORT_GIVE_UP_HOURS`, "
        "or a person with a reason.",
        "Repair the connection, then retry the order.",
    ),
    # Acks and the archive.
    "ERP_REFUSED": ErrorSpec(
        Kind.ORDER,
        Owner.ORDER_TEAM,
        "The ERP refused the order.",
        "The export's page shows what the ERP said and the file that says it.",
        "Correct the order as the ERP says, approve it and push it again. If the order is "
        "right, ask the ERP team to fix the ERP, then retry the order.",
    ),
    "ACK_MOVE_FAILED": ErrorSpec(
        Kind.FILE,
        Owner.ERP_TEAM,
        "Acks were read, but they cannot be moved out of the ack folder.",
        "The acks are already applied. `sftp -P PORT USER@HOST`, then `rename` a file of the "
        "ack folder into its folder `processed`.",
        "Give the user the right to create folders and files in the ack folder and its "
        "folders processed/ and error/, and to delete files in the ack folder.",
    ),
    "ARCHIVE_FAILED": ErrorSpec(
        Kind.FILE,
        Owner.SUPPORT,
        "The object storage did not take the export.",
        "Deliveries go on without the archive. The worker's log, at `archive:`, says the "
        "cause; `manage.py verify_archive --limit 1` tries to read.",
        "Check the object storage.",
    ),
    "ARCHIVE_MISSING": ErrorSpec(
        Kind.FILE,
        Owner.SUPPORT,
        "The object storage does not have this object.",
        "`manage.py verify_archive` names each missing object. Deliveries do not need it.",
        "Restore the object from a backup of the storage.",
    ),
    "ARCHIVE_CORRUPT": ErrorSpec(
        Kind.FILE,
        Owner.SUPPORT,
        "The object storage returned other bytes than were stored.",
        "The worker's log, at `archive:`, names the key. Each object is read back after it "
        "was stored, and removed if it differs. Put a file into the bucket with another "
        "program and compare what you read back.",
        "Check the object storage and any proxy in front of it. The export stays in the "
        "database and is archived once the storage returns the right bytes.",
    ),
    "ARCHIVE_CONFLICT": ErrorSpec(
        Kind.DECISION,
        Owner.SUPPORT,
        "The archive already has an object with this name and other bytes. Nothing was "
        "overwritten.",
        "The worker's log, at `archive:`, names the key. The key has the SHA-256 of the right"
        " bytes: compare it with the object. The export itself is delivered.",
        "Find out who wrote the object and move it away. Then the export is archived.",
    ),
    "INTERNAL": ErrorSpec(
        Kind.FILE,
        Owner.SUPPORT,
        "An unexpected error occurred in this service.",
        "The worker's log has a line with `INTERNAL`, the correlation id and the connection's"
        " id; its `exc_info` is the cause.",
        "Nothing to do: the service tries again. If it happens often, give the correlation id"
        " to support.",
    ),
}

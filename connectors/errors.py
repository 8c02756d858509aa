"""Every error of reaching and serving a dropzone: its code, class, owner and message."""

import uuid
from enum import StrEnum, unique
from typing import Final, NamedTuple


@unique
class Kind(StrEnum):
    """What an error says about the next attempt."""

    REACH = "reach"  # the server could not be reached: transient, counts on the connection
    FILE = "file"  # one file failed: transient, counts on the export
    DESTINATION = "destination"  # the connection needs a change: it is paused
    ORDER = "order"  # this export can never succeed: it fails now
    DECISION = "decision"  # what happened cannot be known: a person decides


@unique
class Owner(StrEnum):
    """Who can put it right."""

    OPERATOR = "operator"
    ERP_ADMIN = "ERP admin"
    ORDER_DATA = "order data"
    US = "us"


class ErrorSpec(NamedTuple):
    kind: Kind
    owner: Owner
    message: str
    hint: str


_R, _F, _D, _O, _P = Kind.REACH, Kind.FILE, Kind.DESTINATION, Kind.ORDER, Kind.DECISION
_OP, _ERP, _DATA, _US = Owner.OPERATOR, Owner.ERP_ADMIN, Owner.ORDER_DATA, Owner.US

CATALOGUE: Final[dict[str, ErrorSpec]] = {
    # Reaching the server.
    "DNS": ErrorSpec(
        _R, _OP, "The host name could not be resolved.", "Check the host name of the connection."
    ),
    "CONNECT_REFUSED": ErrorSpec(
        _R,
        _ERP,
        "The server refuses connections on this port.",
        "Check host and port, and that the SFTP server is running.",
    ),
    "CONNECT_TIMEOUT": ErrorSpec(
        _R,
        _ERP,
        "The server did not answer in time.",
        "Check host, port and firewalls between here and the server.",
    ),
    "CONNECTION_LOST": ErrorSpec(
        _R,
        _ERP,
        "The connection to the server broke.",
        "Nothing to do: it is tried again. If it persists, look into the server's log.",
    ),
    "SERVER_PROTOCOL_ERROR": ErrorSpec(
        _R,
        _ERP,
        "The server does not speak SFTP as expected.",
        "Check that host and port lead to an SFTP server and that its login prints nothing.",
    ),
    "ALGO_MISMATCH": ErrorSpec(
        _D,
        _ERP,
        "The server and this service share no secure algorithm.",
        "Enable a current key exchange, host key and cipher on the server.",
    ),
    "ADDRESS_DENIED": ErrorSpec(
        _D,
        _OP,
        "The host leads to an address that connections must not use.",
        "Use the public or internal address of the dropzone, or change SFTP_DENIED_NETWORKS.",
    ),
    "HOST_KEY_UNKNOWN": ErrorSpec(
        _D,
        _OP,
        "The server's host key is not pinned yet.",
        "Compare the fingerprint with the one the ERP admin gives you, then pin it.",
    ),
    "HOST_KEY_CHANGED": ErrorSpec(
        _D,
        _OP,
        "The server shows another host key than the pinned one. No password was sent.",
        "Ask the ERP admin whether the key was changed on purpose; if so, pin the new one.",
    ),
    "AUTH_FAILED": ErrorSpec(
        _D,
        _OP,
        "The server refused the user name, the password or the key.",
        "Correct the credentials and test the connection; until then nothing is tried again, so "
        "that the account is not locked.",
    ),
    "AUTH_METHOD": ErrorSpec(
        _D,
        _OP,
        "The server does not offer the way of logging in that is configured.",
        "Configure one of the methods that the server offers.",
    ),
    "KEY_UNREADABLE": ErrorSpec(
        _D,
        _OP,
        "The private key cannot be read.",
        "Paste the whole private key in OpenSSH or PEM form: Ed25519, ECDSA or RSA.",
    ),
    "KEY_PASSPHRASE": ErrorSpec(
        _D,
        _OP,
        "The private key needs another passphrase.",
        "Set key_passphrase to the passphrase of this key.",
    ),
    "NO_SFTP_SUBSYSTEM": ErrorSpec(
        _D, _ERP, "The server offers no SFTP.", "Enable the sftp subsystem for this user."
    ),
    "TOO_MANY_SESSIONS": ErrorSpec(
        _R,
        _ERP,
        "The server accepts no further session.",
        "Nothing to do: it is tried again. If it persists, let the server accept more sessions of "
        "this user, host or in all: two for each process of a worker are enough.",
    ),
    # The configuration.
    "CONFIG_UNREADABLE": ErrorSpec(
        _D,
        _OP,
        "The stored configuration cannot be decrypted.",
        "Restore the missing key in FERNET_KEYS, or enter the configuration again.",
    ),
    "CONFIG_INVALID": ErrorSpec(
        _D, _OP, "The stored configuration is not valid.", "Correct it in the connection's form."
    ),
    "PATH_DENIED": ErrorSpec(
        _D,
        _OP,
        "The folder lies outside the folders that dropzones may use.",
        "Use a folder below one of DROPZONE_ROOTS, or add its root to that setting.",
    ),
    # The folder.
    "DIR_MISSING": ErrorSpec(
        _D,
        _ERP,
        "The folder does not exist.",
        "Create the folder on the server, or correct the path.",
    ),
    "PERMISSION": ErrorSpec(
        _D,
        _ERP,
        "The server does not permit this in the folder.",
        "Give the user the right to create, rename and delete files there.",
    ),
    "NO_RENAME": ErrorSpec(
        _D,
        _ERP,
        "The server does not let files be renamed.",
        "Permit rename for this user, or switch atomic_write off and accept what that gives up.",
    ),
    "NO_SIZE": ErrorSpec(
        _D,
        _ERP,
        "The server does not tell the sizes of files, so that nobody can see whether they are "
        "whole.",
        "Let the server answer stat requests with sizes, or use another SFTP server.",
    ),
    # One file.
    "NO_SPACE": ErrorSpec(
        _F, _ERP, "The disk of the dropzone is full.", "Free some space; it is tried again."
    ),
    "REMOTE_FAILURE": ErrorSpec(
        _F,
        _ERP,
        "The server reported a failure without a reason.",
        "Look into the server's log: a quota, a full disk or a policy of the server.",
    ),
    "CORRUPT_WRITE": ErrorSpec(
        _F,
        _ERP,
        "The file on the server is not what was written.",
        "Check the server for text mode or filters that change files.",
    ),
    "NAME_CONFLICT": ErrorSpec(
        _P,
        _OP,
        "Another file with this export's name lies in the folder. Nothing was overwritten.",
        "Find out who wrote that file. Remove or rename it, then deliver again.",
    ),
    "FOLDER_CHANGED": ErrorSpec(
        _F,
        _OP,
        "The folder is missing or is another one than the one the file was staged in.",
        "Bring the folder or mount back; then it is tried again. Else settle the export by hand.",
    ),
    "OUTCOME_UNKNOWN": ErrorSpec(
        _P,
        _OP,
        "It cannot be told whether the ERP has this file whole.",
        "Ask the ERP admin whether the order arrived, then settle the export by hand.",
    ),
    "UNTRACED": ErrorSpec(
        _P,
        _OP,
        "The database was restored, and nothing tells whether the export was sent before.",
        "Ask the ERP admin whether the order arrived. If it did, settle the export by hand; if "
        "not, deliver it again.",
    ),
    # The order and its export.
    "NOT_EXPORTABLE": ErrorSpec(
        _O,
        _DATA,
        "The order cannot be written as a document.",
        "Correct the order, approve and push it again.",
    ),
    "CANCELLED": ErrorSpec(
        _O, _OP, "The export was cancelled before anything was sent.", "Push the order again."
    ),
    "NOT_DELIVERED": ErrorSpec(
        _O,
        _OP,
        "A person found that the file was not delivered.",
        "Retry the order.",
    ),
    "GIVEN_UP": ErrorSpec(
        _O,
        _OP,
        "Nothing could be sent for too long, so the export was given up.",
        "Repair the connection, then retry the order.",
    ),
    # The ERP's answers.
    "ERP_REFUSED": ErrorSpec(
        _O,
        _DATA,
        "The ERP refused the order.",
        "Correct the order as the ERP says, approve and push it again. If nothing in it is wrong, "
        "have the ERP mended and retry it.",
    ),
    "ACK_MOVE_FAILED": ErrorSpec(
        _F,
        _ERP,
        "Answers were read, but cannot be moved away.",
        "Give the user the right to create folders and files in the ack folder and its folders "
        "processed/ and error/, and to delete there.",
    ),
    "ARCHIVE_FAILED": ErrorSpec(
        _F, _US, "The object storage did not take the export.", "Check the object storage."
    ),
    "ARCHIVE_MISSING": ErrorSpec(
        _F,
        _US,
        "The object storage does not have this object.",
        "Restore the object from a backup of the storage.",
    ),
    "ARCHIVE_CORRUPT": ErrorSpec(
        _F,
        _US,
        "The object storage did not keep the bytes of the export: it gave back others.",
        "Check the object storage and what stands between, like a proxy. The export stays in the "
        "database and is archived once the storage keeps what it gets.",
    ),
    "ARCHIVE_CONFLICT": ErrorSpec(
        _P,
        _US,
        "Other bytes lie under this export's archive key. Nothing was overwritten.",
        "Find out who wrote them, move them away, and the export is archived.",
    ),
    "INTERNAL": ErrorSpec(
        _F,
        _US,
        "Something unexpected went wrong here.",
        "It is tried again. Give the correlation id to whoever runs this service.",
    ),
}


class ConnectorError(Exception):
    """The one error that crosses the port.

    `code` is a key of CATALOGUE. `public` replaces the catalogue's message where more can be said
    to a person. `detail` is for the log alone; the correlation id leads from one to the other.
    """

    def __init__(self, code: str, *, public: str | None = None, detail: str = "") -> None:
        self.spec = CATALOGUE[code]
        self.code = code
        self.message = public or self.spec.message
        self.detail = detail
        self.correlation_id = uuid.uuid4().hex[:12]
        super().__init__(f"{code}: {self.message}")

    @property
    def kind(self) -> Kind:
        return self.spec.kind

    def as_json(self) -> dict[str, str]:
        """What people and the API may see of it."""
        return {
            "code": self.code,
            "message": self.message,
            "hint": self.spec.hint,
            "owner": self.spec.owner.value,
            "correlation_id": self.correlation_id,
        }

    @property
    def log_line(self) -> str:
        """What the log has to say of it."""
        return f"{self.code} [{self.correlation_id}] {self.detail}".rstrip()

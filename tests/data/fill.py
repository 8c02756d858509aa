"""Fill the database of an installation with a little of everything; make_dumps.py runs it.

It runs in the tree of the commit that the dumps are of, and calls what is there: it is not kept in
step with this tree.
"""

import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import django

django.setup()

from django.conf import settings  # noqa: E402
from django.contrib.auth.models import Group  # noqa: E402
from django.db.models import F  # noqa: E402
from django.test import Client  # noqa: E402
from django.utils import timezone  # noqa: E402
from rest_framework.test import APIClient  # noqa: E402

from accounts.models import Membership, User  # noqa: E402
from accounts.tokens import create_token, revoke_token  # noqa: E402
from connectors import health  # noqa: E402
from connectors.configuring import create_connection  # noqa: E402
from connectors.models import ErpConnection  # noqa: E402
from exports import acks, batches, connection_tests, workers  # noqa: E402
from exports.archive import archive_pending  # noqa: E402
from exports.delivery import deliver  # noqa: E402
from exports.inbox import dismiss  # noqa: E402
from exports.models import ErpAck, ErpExport, Worker  # noqa: E402
from exports.push import cancel_export  # noqa: E402
from exports.tallies import count_events  # noqa: E402
from notifications.sending import send_due  # noqa: E402
from notifications.webhooks import create_webhook  # noqa: E402
from orders import workflow  # noqa: E402
from orders.models import DraftOrder  # noqa: E402
from tests.api import ORDER  # noqa: E402
from tests.builders import an_approved_order, an_order, an_org, some_exports  # noqa: E402
from tests.servers.keys import new_key, public_line  # noqa: E402

DROPZONES, PASSWORD = Path(sys.argv[1]), sys.argv[2]
GROUPS = ("Viewer", "Approver", "Operator", "Integration", "Auditor")
CONNECTOR = "DROPZONE_JSON_V1"
# The name of an ack to an export that this installation does not know.
UNKNOWN = "ack_sales_order_0000000{0}_20260101_000000_0000000{0}.json"
FOREVER = timedelta(days=36_500)


def manage(*command: str, **env: str) -> int:
    return subprocess.run(
        [sys.executable, "manage.py", *command],
        env={**os.environ, **env},
        stdout=sys.stderr,
        check=False,
    ).returncode


def answer(export: ErpExport, **content: Any) -> None:
    kind = "error" if content["status"] == "FAILED" else "ack"
    (DROPZONES / "acks" / f"{kind}_{export.filename}").write_text(json.dumps(content))


def read_acks() -> None:
    """Read until nothing waits: a file that is no JSON is given time to become some."""
    for _ in range(3):
        assert not acks.poll(folder.id).errors
        ErpAck.objects.update(seen_at=F("seen_at") - timedelta(minutes=1))


assert manage("migrate", "--verbosity=0") == 0
acme, umbrella, initech = (an_org(slug) for slug in ("acme", "umbrella", "initech"))

# People: one in each group, a superuser, and one who has left.
root = User.objects.create_superuser("root", "root@acme.example", PASSWORD)
people = {}
for group in GROUPS:
    name = group.lower()
    person = User.objects.create_user(name, f"{name}@acme.example", PASSWORD, is_staff=True)
    person.groups.add(Group.objects.get(name=group))
    Membership.objects.create(user=person, org=acme)
    people[group] = person
User.objects.create_user("former", "former@acme.example", PASSWORD, is_active=False)
approver, operator, integration = (people[g] for g in ("Approver", "Operator", "Integration"))

# Tokens: one works, one is revoked, one expires after a minute.
live, token = create_token(
    integration, org=acme, name="shop", expires_at=timezone.now() + FOREVER, actor=root
)
revoked, revoked_token = create_token(integration, org=acme, name="old shop", actor=root)
revoke_token(revoked, actor=root)
_, expired_token = create_token(
    integration, org=acme, name="test", expires_at=timezone.now() + timedelta(minutes=1), actor=root
)

# Connections: a folder that delivers, and two servers on which nothing is delivered yet.
for name in ("exports", "acks"):
    (DROPZONES / name).mkdir(parents=True)
folder = create_connection(
    acme,
    connector_type=CONNECTOR,
    config={
        "mode": "filesystem",
        "export_path": str(DROPZONES / "exports"),
        "ack_path": str(DROPZONES / "acks"),
    },
    actor=operator,
)
connection_tests.run(connection_tests.request_test(folder, actor=operator).id)
folder.refresh_from_db()
assert not folder.is_paused, folder.pause_reason
ssh_key = new_key()
server = {
    "mode": "sftp",
    "host": "sftp.erp.example",
    "username": "orderflow",
    "host_keys": [public_line(new_key())],
    "export_path": "/out",
}
secrets = {umbrella.slug: {"password": "an-old-sftp-password"}, initech.slug: {"ssh_key": ssh_key}}
for org in (umbrella, initech):
    create_connection(
        org, connector_type=CONNECTOR, config={**server, **secrets[org.slug]}, actor=root
    )
health.pause(
    ErpConnection.objects.get(org=umbrella).id, reason="The ERP is down until Monday.", actor=root
)
webhook, webhook_secret = create_webhook(
    acme,
    url="http://127.0.0.1:9/hook",
    event_types=["export.sent", "export.acked", "export.failed"],
    actor=operator,
)

# Exports in every state, and acks of every kind.
acked, again, failed, conflict, sent, unread = some_exports(acme, operator, 6)
deliver(folder.id)
for export in (acked, again, conflict):
    answer(export, status="ACKED", erp_order_id=f"SO-{export.draft_order.external_order_number}")
answer(failed, status="FAILED", error_code="PRICE", message="The price is wrong.")
(DROPZONES / "acks" / UNKNOWN.format(1)).write_text('{"status": "ACKED"}')
read_acks()
answer(again, status="ACKED", erp_order_id=f"SO-{again.draft_order.external_order_number}")
answer(conflict, status="FAILED", error_code="CREDIT", message="No credit.")
(malformed,) = some_exports(acme, operator, first=6)
deliver(folder.id)
(DROPZONES / "acks" / f"ack_{malformed.filename}").write_text("{no JSON")
read_acks()
(dismissed,) = ErpAck.objects.filter(verdict="UNMATCHED")
dismiss(dismissed.id, actor=operator, reason="It belongs to another system.")
(DROPZONES / "acks" / UNKNOWN.format(2)).write_text('{"status": "ACKED"}')
read_acks()
archive_pending()
(cancelled,) = some_exports(acme, operator, first=7)
cancel_export(cancelled.id, actor=operator, reason="The customer called.")
(staged,) = some_exports(acme, operator, first=8)
assert manage("deliver", ORDERFLOW_FAILPOINT="elected") != 0
# The worker died. Its lease runs out before anybody restores the dump.
(waiting,) = some_exports(acme, operator, first=9)
answer(unread, status="ACKED", erp_order_id="SO-unread")

# Orders in every state, batches, and requests under a key.
an_order(acme, "PO-ready")
an_order(acme, "PO-blocked", lines=0)
rejected = an_order(acme, "PO-rejected")
workflow.reject(rejected.id, actor=approver)
for number in range(3):
    an_approved_order(acme, approver, f"PO-batch-{number}")
of_batch = DraftOrder.objects.filter(external_order_number__startswith="PO-batch")
done = batches.create_batch(acme, action="push", orders=of_batch, actor=operator)
batches.run(done.id)
for number in range(2):
    an_order(acme, f"PO-later-{number}")
later = DraftOrder.objects.filter(external_order_number__startswith="PO-later")
batches.create_batch(acme, action="approve", orders=later, actor=approver)
an_approved_order(umbrella, root, "PO-umbrella")
some_exports(umbrella, root, first=0)
api = APIClient(
    SERVER_NAME="localhost",
    headers={"Authorization": f"Bearer {token}", "Idempotency-Key": "dumped-key"},
)
created = api.post("/api/v1/draft-orders", ORDER, format="json")
assert created.status_code == 201, created.content

# A worker and what it did, and somebody who is signed in.
workers.register()
Worker.objects.update(host="worker-1")
count_events()
send_due()
client = Client(SERVER_NAME="localhost")
assert client.login(username="root", password=PASSWORD)
client.get("/admin/")
cookie = client.cookies[settings.SESSION_COOKIE_NAME].value

states = set(ErpExport.objects.values_list("status", flat=True))
assert states == {"ACKED", "FAILED", "PENDING", "SENT"}, states
verdicts = set(ErpAck.objects.values_list("verdict", flat=True))
assert {"APPLIED", "CONFLICT", "DISMISSED", "MALFORMED", "UNMATCHED"} <= verdicts, verdicts
staged.refresh_from_db()
assert staged.staged_path and staged.status == "PENDING"
json.dump(
    {
        "cookie": cookie,
        "token": token,
        "dead_tokens": [revoked_token, expired_token],
        "connections": secrets,
        "orders": {
            "staged": "PO-8",
            "waiting": "PO-9",
            "unread": "PO-5",
            "conflict": "PO-3",
            "ready": "PO-ready",
        },
    },
    sys.stdout,
)

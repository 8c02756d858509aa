"""The module that Django's autodiscovery imports: it registers the admin classes."""

import backoffice.accounts.admin
import backoffice.accounts.audit_log
import backoffice.acks.admin
import backoffice.batches.admin
import backoffice.connections.admin
import backoffice.exports.admin
import backoffice.notifications.admin
import backoffice.orders.admin  # noqa: F401

"""What django-q2 calls. The rows decide what there is to do."""

from notifications import mail, sending, webhooks


def send_webhooks() -> None:
    """The net under the thread of `manage.py worker`, for a plain qcluster too."""
    sending.send_due()


def send_mails() -> None:
    mail.send_due()


def prune() -> None:
    webhooks.prune()

"""Create an API token for a user within one organisation."""

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from accounts.models import ApiToken, Org, User
from accounts.tokens import LIFETIME, create_token


class Command(BaseCommand):
    help = "Make an API token and print it, once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("username", metavar="USERNAME")
        parser.add_argument("--org", required=True, metavar="SLUG")
        parser.add_argument("--name", required=True, help="which system will use the token")
        parser.add_argument(
            "--days", type=int, default=LIFETIME.days, help="how long it is valid (%(default)s)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        user = User.objects.filter(username=options["username"]).first()
        org = Org.objects.filter(slug=options["org"]).first()
        if user is None:
            raise CommandError(f"There is no user {options['username']}.")
        if org is None:
            raise CommandError(f"There is no organisation {options['org']}.")
        if not 1 <= options["days"] <= 3650:
            raise CommandError("--days must lie between 1 and 3650.")
        try:
            name = ApiToken._meta.get_field("name").clean(options["name"], None)
        except ValidationError as e:
            raise CommandError(f"--name: {' '.join(e.messages)}") from e
        expires_at = timezone.now() + timedelta(days=options["days"])
        try:
            _, text = create_token(user, org=org, name=name, expires_at=expires_at)
        except ValueError as e:
            raise CommandError(str(e)) from e
        self.stdout.write(text)
        self.stderr.write(
            f"A token for {user} in {org}, valid until {expires_at:%Y-%m-%d}. "
            "It is not shown again."
        )

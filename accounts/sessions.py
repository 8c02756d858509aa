"""Sessions of the admin: a row holds the hash of its cookie, so no row can be used to sign in."""

import hashlib
from typing import Any, Final

from asgiref.sync import sync_to_async
from django.contrib.sessions.backends import db
from django.contrib.sessions.base_session import AbstractBaseSession
from django.contrib.sessions.models import Session
from django.db.models import QuerySet
from django.utils import timezone

_DELETED_AT_ONCE: Final = 1000
# As long as the column takes: 160 bits.
_HASH_LENGTH: Final = 40


class SessionStore(db.SessionStore):
    """Django's store on Django's table; `session_key` is what the cookie holds.

    It overrides all that reads, writes or deletes a row by its key. What Django may add to its own
    store finds no row, because it looks for the cookie.
    """

    def load(self) -> dict[str, Any]:
        return self._content(self._live().first())

    async def aload(self) -> dict[str, Any]:
        return self._content(await self._live().afirst())

    def exists(self, session_key: str) -> bool:
        return super().exists(_hash(session_key))

    async def aexists(self, session_key: str) -> bool:
        return await super().aexists(_hash(session_key))

    def create_model_instance(self, data: dict[str, Any]) -> AbstractBaseSession:
        return _under_hash(super().create_model_instance(data))

    async def acreate_model_instance(self, data: dict[str, Any]) -> AbstractBaseSession:
        return _under_hash(await super().acreate_model_instance(data))

    def delete(self, session_key: str | None = None) -> None:
        if key := session_key or self.session_key:
            super().delete(_hash(key))

    async def adelete(self, session_key: str | None = None) -> None:
        if key := session_key or self.session_key:
            await super().adelete(_hash(key))

    @classmethod
    def clear_expired(cls) -> None:
        """Delete the sessions that have ended, some at a time: no transaction gets long."""
        ended = Session.objects.filter(expire_date__lt=timezone.now())
        while keys := list(ended.values_list("pk", flat=True)[:_DELETED_AT_ONCE]):
            Session.objects.filter(pk__in=keys).delete()

    @classmethod
    async def aclear_expired(cls) -> None:
        await sync_to_async(cls.clear_expired)()

    def _live(self) -> QuerySet[Session]:
        return Session.objects.filter(
            session_key=_hash(self.session_key or ""), expire_date__gt=timezone.now()
        )

    def _content(self, row: Session | None) -> dict[str, Any]:
        if row is None:
            # A client cannot choose a key: its next session gets a random one.
            self._session_key = None
            return {}
        return self.decode(row.session_data)


def end_all() -> None:
    """End every session: everybody signs in again."""
    Session.objects.all().delete()


def _under_hash(row: AbstractBaseSession) -> AbstractBaseSession:
    row.session_key = _hash(row.session_key)
    return row


def _hash(key: str) -> str:
    # The key is random and long: a plain hash cannot be guessed back.
    return hashlib.sha256(key.encode()).hexdigest()[:_HASH_LENGTH]

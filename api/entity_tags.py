"""Entity tags: a client changes an object only if it is still as the client read it."""

import hashlib
from typing import Any

from django.utils.http import parse_etags
from django.utils.translation import gettext as _
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request

from kernel.problems import Problem


def entity_tag(data: Any) -> str:
    """The ETag of what an answer shows."""
    digest = hashlib.sha256(JSONRenderer().render(data)).hexdigest()
    return f'"{digest[:32]}"'


def require_match(request: Request, data: Any) -> None:
    """Raise Problem (412) if the client says by If-Match that it has read something else."""
    expected = request.headers.get("If-Match")
    if expected is not None and not {"*", entity_tag(data)} & set(parse_etags(expected)):
        raise Problem(
            412,
            "precondition_failed",
            _("The object has changed since you read it. Read it again, then repeat your change."),
        )

"""What the API views share: they act within the org of a token."""

from rest_framework.views import APIView

from accounts.models import ApiToken


class OrgView(APIView):
    @property
    def token(self) -> ApiToken:
        """The token of this request: its org bounds what is seen, its user what may be done."""
        assert isinstance(self.request.auth, ApiToken)
        return self.request.auth

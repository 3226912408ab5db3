"""Requests to an authorization server, as values; nothing here sends them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct
from pydantic import SecretStr

from proxy_core import UpstreamRequest, repr_without
from proxy_plugin_oauth.pkce import Pkce


class OAuthClient(Struct, frozen=True, kw_only=True):
    """An application that is registered with an authorization server, and the server's token endpoint.

    ``headers`` are sent with every request, for servers that check them.
    """

    __repr__ = repr_without("headers")

    client_id: str
    token_url: str
    client_secret: SecretStr | None = None
    headers: Sequence[tuple[str, str]] = ()

    def code_request(self, code: str, *, redirect_uri: str, pkce: Pkce | None) -> UpstreamRequest:
        """Exchange an authorization code for tokens."""
        from oauthlib.oauth2 import WebApplicationClient

        verifier = pkce.verifier if pkce else None
        return self._post(
            WebApplicationClient(self.client_id).prepare_request_body(
                code=code, redirect_uri=redirect_uri, code_verifier=verifier, **self._secret()
            )
        )

    def refresh_request(self, refresh_token: SecretStr) -> UpstreamRequest:
        """Exchange a refresh token for new tokens."""
        from oauthlib.oauth2 import WebApplicationClient

        return self._post(
            WebApplicationClient(self.client_id).prepare_refresh_body(
                refresh_token=refresh_token.get_secret_value(), client_id=self.client_id, **self._secret()
            )
        )

    def device_code_request(self, url: str, *, scope: str, pkce: Pkce | None) -> UpstreamRequest:
        """Request a code to be entered on another device (RFC 8628)."""
        from oauthlib.common import urlencode

        challenge = {"code_challenge": pkce.challenge, "code_challenge_method": "S256"} if pkce else {}
        fields = {"client_id": self.client_id, "scope": scope, **challenge, **self._secret()}
        return self._post(urlencode([(name, value) for name, value in fields.items() if value]), url)

    def device_token_request(self, device_code: SecretStr, *, pkce: Pkce | None) -> UpstreamRequest:
        """Check whether the code has been entered."""
        from oauthlib.oauth2 import DeviceClient

        more = {"code_verifier": pkce.verifier} if pkce else {}
        return self._post(
            DeviceClient(self.client_id).prepare_request_body(
                device_code.get_secret_value(), include_client_id=True, **more, **self._secret()
            )
        )

    def _secret(self) -> Mapping[str, str]:
        return {"client_secret": self.client_secret.get_secret_value()} if self.client_secret else {}

    def _post(self, form: str, url: str | None = None) -> UpstreamRequest:
        headers = [
            ("content-type", "application/x-www-form-urlencoded"),
            ("accept", "application/json"),
            *self.headers,
        ]
        return UpstreamRequest(url=url or self.token_url, headers=headers, content=form.encode("ascii"))


def authorization_url(
    endpoint: str, client_id: str, *, redirect_uri: str, scope: str, state: str, pkce: Pkce | None, **more: str
) -> str:
    """The URL of the consent page. ``more`` are server-specific parameters (``access_type``)."""
    # oauthlib's prepare_grant_uri requires https unless a variable is set, but where a plugin's
    # settings point is up to the operator (a server of their own, a test).
    from oauthlib.common import add_params_to_uri

    fields = {"response_type": "code", "client_id": client_id, "redirect_uri": redirect_uri, "scope": scope}
    fields["state"] = state
    if pkce is not None:
        fields |= {"code_challenge": pkce.challenge, "code_challenge_method": "S256"}
    url: str = add_params_to_uri(endpoint, [*fields.items(), *more.items()])
    return url

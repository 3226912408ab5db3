"""Log in with Google, refresh tokens, and look up the account, project and tier of a login."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from msgspec.structs import replace
from pydantic import SecretStr

from proxy_core import (
    Clock,
    Credential,
    CredentialRefresher,
    HttpClient,
    LoginFailed,
    LoginPrompt,
    LoginRequired,
    RetryRefresh,
    SetupRequired,
    SystemClock,
    Tokens,
    TransportFailed,
    UpstreamRequest,
    load_json,
)
from proxy_plugin_gemini_cli.client import NoClient, at_server_of, client_of, own_client
from proxy_plugin_gemini_cli.files import FILES, STORES
from proxy_plugin_gemini_cli.onboarding import (
    AskAgain,
    Backend,
    NotServed,
    Ready,
    TokenRejected,
    check_project,
    discover,
)
from proxy_plugin_gemini_cli.settings import GeminiCliSettings
from proxy_plugin_oauth import (
    Authorized,
    OAuthClient,
    OAuthRefused,
    ask_for_tokens,
    authorize,
    refresh_tokens,
)

KIND = "google_oauth"
LOGIN = "proxy-core login gemini_cli"
RELOAD = "proxy-core reload"
SCOPE = " ".join(
    f"https://www.googleapis.com/auth/{name}" for name in ("cloud-platform", "userinfo.email", "userinfo.profile")
)
NOTICE = """\
Before you log in:
- This uses an undocumented internal API of Google (Code Assist), which can break at any time.
- Google's terms forbid access to Code Assist through third-party software with such a login. Accounts that do so may be
  suspended or closed, even immediately. That has happened, even to users who stayed within their limits.
- Since 18 June 2026 this works only for accounts with a Gemini Code Assist Standard or Enterprise licence and a Google
  Cloud project. Free, Google AI Pro and AI Ultra accounts are no longer served.
- The supported alternative is the public Gemini API with a key: provider gemini, GEMINI_API_KEY.
Which terms apply depends on the kind of account. Google may use data from free accounts to improve its products."""

#: Project and tier are looked up again at the first refresh after this time.
_KNOWN_FOR = timedelta(hours=6)
_LOGIN_TIMEOUT_S = 300.0
_REFRESH_LOOKUP_S = 60.0
_REFRESH_MARGIN_S = 300.0
#: If the token server states no lifetime, which it always does: that of every access token of Google's.
_LIFE_S = 3600.0


class GoogleLogin:
    """The functions of a refresher. ``backend`` is the Code Assist backend that sets up accounts."""

    def __init__(self, settings: GeminiCliSettings, backend: Backend, clock: Clock | None = None) -> None:
        self._settings = settings
        self._backend = backend
        #: A refresh must not wait long; the next one continues to wait for the same operation.
        self._brief_backend = replace(backend, onboard_s=min(backend.onboard_s, _REFRESH_LOOKUP_S))
        self._clock = clock or SystemClock()

    def refresher(self) -> CredentialRefresher:
        return CredentialRefresher(
            kind=KIND,
            refresh=self.refresh,
            rotates=False,  # developers.google.com/identity/protocols/oauth2: a refresh token stays valid
            login=self.login,
            test=self.test,
            files=FILES,
            stores=STORES,
            incomplete_reason=incomplete_reason,
            environment="GEMINI_CLI",
            details=("quota_project_id", "configured_project", "looked_up", "problem", "scope"),
            refresh_margin_s=_REFRESH_MARGIN_S,
            notice=NOTICE,
            login_methods=("browser", "paste"),
            servers=[self._backend.base, str(self._settings.token_url), str(self._settings.userinfo_url)],
        )

    # --- Logging in ----------------------------------------------------------------------

    async def login(self, prompt: LoginPrompt, exchange: HttpClient) -> Tokens:
        """Log in with a browser or a pasted code, then look up project and tier. Raises ``LoginFailed``."""
        try:
            client = await asyncio.to_thread(own_client, self._settings)
        except NoClient as error:
            raise LoginFailed(str(error)) from error
        got = await self._authorized(prompt, client)
        request = client.code_request(got.code, redirect_uri=got.redirect_uri, pkce=got.pkce)
        try:
            tokens = await ask_for_tokens(exchange, request, login="start over", life_s=_LIFE_S, clock=self._clock)
        except LoginRequired as error:
            raise LoginFailed("Google did not accept the code; start over") from error
        except (RetryRefresh, OAuthRefused) as error:
            raise LoginFailed(f"the code could not be exchanged for tokens: {error}") from error
        if tokens.refresh_token is None:
            raise LoginFailed(
                "Google sent no refresh token; remove the app's access in your Google account and start over"
            )
        tokens = await self._with_identity(exchange, tokens)
        return await self._set_up(prompt, exchange, tokens)

    async def _authorized(self, prompt: LoginPrompt, client: OAuthClient) -> Authorized:
        """If the browser is on another machine, Google's own page shows the code; else it redirects to this machine."""
        elsewhere = prompt.method == "paste" or (prompt.method is None and prompt.headless)
        page = str(self._settings.code_page_url) if elsewhere else None
        return await authorize(
            prompt,
            authorize_url=str(self._settings.authorize_url),
            client_id=client.client_id,
            scope=SCOPE,
            # prompt=consent: without it, the second login of an account returns no refresh token.
            more={"access_type": "offline", "prompt": "consent"},
            port=self._settings.callback_port,
            redirect_uri=page,
            timeout_s=_LOGIN_TIMEOUT_S,
        )

    async def _set_up(self, prompt: LoginPrompt, exchange: HttpClient, tokens: Tokens) -> Tokens:
        project = self._settings.project
        while True:
            try:
                ready = await discover(exchange, self._backend, tokens.access_token, project)
            except NotServed as error:
                if error.code != "project_required" or project is not None:
                    raise LoginFailed(f"Google does not serve this account: {error}") from error
                project = await self._ask_project(prompt, error)
            except AskAgain as error:
                # The login works; the project is looked up when the login is first used.
                prompt.say(
                    f"Your account's project cannot be looked up now ({error}); the proxy will try again on first use."
                )
                return self._with_project(tokens, None, project)
            else:
                prompt.say(f"Tier: {ready.tier}. Project: {ready.project}.")
                return self._with_project(tokens, ready, project)

    async def _ask_project(self, prompt: LoginPrompt, error: NotServed) -> str:
        prompt.say(str(error))
        try:
            project = (await prompt.ask("Google Cloud project id (empty to give up)")).strip()
        except EOFError:
            project = ""
        try:
            project = check_project(project) or ""
        except NotServed as wrong:
            raise LoginFailed(str(wrong)) from wrong
        if not project:
            raise LoginFailed(f"Google does not serve this account: {error}") from error
        return project

    async def _with_identity(self, exchange: HttpClient, tokens: Tokens) -> Tokens:
        """Look up the account with userinfo. If that fails, keep the email address from the id token."""
        try:
            return replace(tokens, identity=await self._who(exchange, tokens.access_token) or tokens.identity)
        except (TransportFailed, LoginRequired, RetryRefresh):
            return tokens

    async def _who(self, exchange: HttpClient, token: SecretStr) -> str | None:
        headers = [("authorization", f"Bearer {token.get_secret_value()}"), *self._backend.headers]
        answer = await exchange(UpstreamRequest(url=str(self._settings.userinfo_url), headers=headers, method="GET"))
        if answer.status == 401:
            raise LoginRequired(f"Google rejected the access token; log in again: {LOGIN}")
        try:
            fields = load_json(answer.body) if answer.status == 200 else {}
        except ValueError:
            fields = {}
        email = fields.get("email") if isinstance(fields, dict) else None
        return email if isinstance(email, str) and email.isprintable() else None

    async def test(self, credential: Credential, exchange: HttpClient) -> str:
        """Ask Google for the account, its tier and its project; returns one line."""
        try:
            who = await self._who(exchange, credential.secret)
            ready = await discover(exchange, self._backend, credential.secret, self._project(credential), onboard=False)
        except TransportFailed as error:
            raise RetryRefresh("Google did not respond") from error
        except NotServed as error:
            raise LoginRequired(str(error)) from error
        except AskAgain as error:
            raise RetryRefresh(str(error)) from error
        return f"{who or 'unknown account'}, {ready.tier}, project {ready.project}"

    # --- Refreshing ----------------------------------------------------------------------

    async def refresh(self, credential: Credential, exchange: HttpClient) -> Tokens:
        """Refresh the tokens if they are due; look up the account's project and tier if they are not known.

        Raises ``LoginRequired``, ``RetryRefresh``. New tokens are returned even if the lookup fails.
        """
        if self._lacks_only_project(credential):
            try:
                tokens = Tokens(access_token=credential.secret, expires_at=credential.expires_at)
                return await self._completed(credential, exchange, tokens)
            except TokenRejected:
                pass  # it has ended before its time
        tokens = await self._refreshed(credential, exchange)
        try:
            return await self._completed(credential, exchange, tokens)
        except TokenRejected as error:
            return replace(tokens, unfinished=str(error))

    async def _completed(self, credential: Credential, exchange: HttpClient, tokens: Tokens) -> Tokens:
        if credential.identity is None and tokens.identity is None:
            tokens = await self._with_identity(exchange, tokens)
        return await self._looked_up(credential, exchange, tokens)

    async def _refreshed(self, credential: Credential, exchange: HttpClient) -> Tokens:
        if credential.refresh_token is None:
            raise LoginRequired(f"its access token has expired, and there is no refresh token; log in: {LOGIN}")
        try:
            client = client_of(credential, self._settings)
            if client is None:
                client = await asyncio.to_thread(own_client, self._settings)
                client = at_server_of(credential, client)
            if client.client_secret is None:
                raise SetupRequired(_no_secret(credential))
            return await refresh_tokens(credential, exchange, client, login=LOGIN, life_s=_LIFE_S, clock=self._clock)
        except NoClient as error:
            raise SetupRequired(f"{error}. Then: {RELOAD}") from error
        except OAuthRefused as error:
            raise SetupRequired(_misconfigured(error, credential)) from error
        except LoginRequired as error:
            if "rapt" in str(error):
                raise LoginRequired(f"its administrator requires a new login ({error})") from error
            raise

    def _lacks_only_project(self, credential: Credential) -> bool:
        """Whether the token stays valid for a while and only the project is missing."""
        if not credential.secret.get_secret_value() or incomplete_reason(credential) is None:
            return False
        if credential.expires_at is None:
            return credential.refresh_token is None
        return credential.expires_at - self._clock.now() > timedelta(seconds=_REFRESH_MARGIN_S)

    async def _looked_up(self, credential: Credential, exchange: HttpClient, tokens: Tokens) -> Tokens:
        known = incomplete_reason(credential) is None
        if known and not self._stale(credential):
            return tokens
        project = self._project(credential)
        try:
            ready = await self._discovered(exchange, tokens.access_token, project)
        except (NotServed, AskAgain) as error:
            if known:
                return tokens
            if isinstance(error, TokenRejected):
                raise
            # Clear the stored project: it may be the one that Google has just refused.
            if isinstance(error, AskAgain):
                return replace(self._with_project(tokens, None, project), unfinished=str(error))
            return self._with_project(tokens, None, project, problem=str(error))
        return self._with_project(tokens, ready, project)

    async def _discovered(self, exchange: HttpClient, token: SecretStr, project: str | None) -> Ready:
        """One failure in passing is no reason to keep requests waiting, so the second try follows at once."""
        try:
            return await discover(exchange, self._brief_backend, token, project)
        except TokenRejected:
            raise
        except AskAgain:
            return await discover(exchange, self._brief_backend, token, project)

    def _stale(self, credential: Credential) -> bool:
        looked_up = credential.details.get("looked_up")
        if not isinstance(looked_up, str) or not looked_up:
            # The project was configured, for example in a variable, so there is nothing to look up.
            return False
        try:
            return self._clock.now() - datetime.fromisoformat(looked_up) > _KNOWN_FOR
        except (ValueError, TypeError):
            return True

    def _project(self, credential: Credential) -> str | None:
        configured = credential.details.get("configured_project") or credential.details.get("quota_project_id")
        return (configured if isinstance(configured, str) else None) or self._settings.project

    def _with_project(self, tokens: Tokens, ready: Ready | None, configured: str | None, problem: str = "") -> Tokens:
        details: dict[str, str | SecretStr] = {**tokens.details, "problem": problem}
        if configured:
            details["configured_project"] = configured
        if ready is None:
            details["project_id"] = ""
        else:
            details |= {"project_id": ready.project, "looked_up": self._clock.now().astimezone(UTC).isoformat()}
        return replace(tokens, details=details, tier=ready.tier if ready is not None else tokens.tier)


def incomplete_reason(credential: Credential) -> str | None:
    """A login without a project cannot serve requests: an invented project would get misleading errors."""
    if credential.details.get("project_id"):
        return None
    problem = credential.details.get("problem")
    return problem if isinstance(problem, str) and problem else "its project is being looked up"


def _variables(credential: Credential) -> str:
    """Where the OAuth client of this login is set."""
    if "client_id" in credential.details:
        return "the client_id and client_secret that this login brought along"
    return "GEMINI_CLI_CLIENT_ID and GEMINI_CLI_CLIENT_SECRET"


def _no_secret(credential: Credential) -> str:
    missing = "GEMINI_CLI_CLIENT_SECRET"
    if "client_id" in credential.details:
        missing = "the client_secret that belongs to the login's client_id (GEMINI_CLI_<n>_CLIENT_SECRET)"
    return f"an OAuth client id is set, but no secret: set {missing}, then: {RELOAD}; or log in again: {LOGIN}"


def _misconfigured(error: OAuthRefused, credential: Credential) -> str:
    where = _variables(credential)
    match error.error:
        case "invalid_client":
            return f"the OAuth client id or secret is wrong ({error}): correct {where}, then: {RELOAD}"
        case "unauthorized_client":
            return f"the login was made with another OAuth client ({error}): set {where} to that client, then: {RELOAD}"
        case _:
            return f"{error}: check {where}, then: {RELOAD}; or log in again: {LOGIN}"

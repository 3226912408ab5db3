"""``[plugins.gemini_cli]``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from pydantic import Field, HttpUrl, SecretStr, field_validator

from proxy_core import PluginSettings, StrList

CODE_ASSIST = HttpUrl("https://cloudcode-pa.googleapis.com")


class GeminiCliSettings(PluginSettings):
    """``[plugins.gemini_cli]``; ``PROXY_PLUGINS__GEMINI_CLI__<KEY>`` overrides the file.

    The variables that Google's own client reads work too.
    """

    variables: ClassVar[Mapping[str, Sequence[str]]] = {
        "code_assist_endpoint": ["CODE_ASSIST_ENDPOINT"],
        "code_assist_api_version": ["CODE_ASSIST_API_VERSION"],
        "client_id": ["GEMINI_CLI_CLIENT_ID"],
        "client_secret": ["GEMINI_CLI_CLIENT_SECRET"],
        "project": ["GEMINI_CLI_PROJECT_ID", "GOOGLE_CLOUD_PROJECT", "GOOGLE_CLOUD_PROJECT_ID"],
        "callback_port": ["GEMINI_CLI_OAUTH_PORT", "OAUTH_CALLBACK_PORT"],
        "quota_every_s": ["GEMINI_CLI_QUOTA_REFRESH_INTERVAL"],
        "signature_ttl_s": ["GEMINI_CLI_SIGNATURE_CACHE_TTL"],
    }

    code_assist_endpoint: HttpUrl = Field(CODE_ASSIST, description="Scheme and host of Code Assist.")
    code_assist_api_version: str = Field(
        "v1internal", pattern=r"^[A-Za-z0-9._-]+$", description="The version in Code Assist's paths."
    )
    authorize_url: HttpUrl = Field(
        HttpUrl("https://accounts.google.com/o/oauth2/v2/auth"), description="OAuth authorization page."
    )
    code_page_url: HttpUrl = Field(
        HttpUrl("https://codeassist.google.com/authcode"), description="The page that shows a code to paste."
    )
    token_url: HttpUrl = Field(HttpUrl("https://oauth2.googleapis.com/token"), description="OAuth token endpoint.")
    userinfo_url: HttpUrl = Field(
        HttpUrl("https://www.googleapis.com/oauth2/v2/userinfo"),
        description="Endpoint that returns the account of a token.",
    )
    client_id: str | None = Field(None, description="OAuth client id for logins and token refresh.")
    client_secret: SecretStr | None = Field(None, description="The secret of ``client_id``.")
    installed_cli: bool = Field(
        True, description="Without ``client_id``: use the OAuth client of the Gemini CLI that is installed here."
    )
    callback_port: int = Field(0, ge=0, le=65535, description="Port for the redirect after a login; 0: any free port.")
    project: str | None = Field(None, description="Google Cloud project for accounts without one.")
    onboard_s: float = Field(300, gt=0, le=3600, description="Longest wait for an account to be set up.")
    onboard_poll_s: float = Field(5, gt=0, description="How often to check whether it is set up.")
    user_agent: str | None = Field(
        None, description="User-Agent of requests to Google; unset: proxy-core's own.", pattern=r"^[ -~]+$"
    )
    safety_off: bool = Field(True, description="Turn safety filters off if the client does not set them.")
    previews: bool = Field(False, description="The names ``pro``, ``flash`` and ``auto`` select preview models.")
    newest_flash: bool = Field(
        False, description="Send 3.5 Flash as ``gemini-3.8-flash``, as Google's newest flag does."
    )
    newest_lite: bool = Field(False, description="Send 3.1 Flash-Lite as ``gemini-3.5-flash-lite``.")
    paid_credits: bool = Field(False, description="Use Google One AI credits for streamed preview models.")
    capacity_fallback: bool = Field(
        False, description="While a model has no capacity, use the model that is listed as its substitute."
    )
    quota_every_s: float = Field(300, ge=1, description="How often to request each login's quota.")
    signatures: int = Field(
        10_000, ge=0, description="How many thought signatures to keep for clients that do not send them back; 0: none."
    )
    signature_ttl_s: float = Field(3600, gt=0, description="How long to keep a signature.")
    models: StrList = Field(default_factory=list, description="Additional models to list.")

    @field_validator("project")
    @classmethod
    def _project(cls, value: str | None) -> str | None:
        if value is not None and value.isdecimal():
            raise ValueError("set the project's id, not its number")
        return value

    @property
    def code_assist(self) -> str:
        """The base that methods are appended to with a colon."""
        return f"{str(self.code_assist_endpoint).rstrip('/')}/{self.code_assist_api_version}"

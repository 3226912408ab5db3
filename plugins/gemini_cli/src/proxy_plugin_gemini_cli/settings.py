"""``[plugins.gemini_cli]``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from pydantic import Field, HttpUrl, SecretStr, field_validator

from proxy_core import PluginSettings, StrList

CODE_ASSIST = HttpUrl("https://cloudcode-pa.googleapis.com")


class GeminiCliSettings(PluginSettings):
    """``[plugins.gemini_cli]``; ``PROXY_PLUGINS__GEMINI_CLI__<KEY>`` wins over the file.

    The names in the environment that Google's own client reads are read too.
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

    code_assist_endpoint: HttpUrl = Field(CODE_ASSIST, description="Code Assist's scheme and host.")
    code_assist_api_version: str = Field(
        "v1internal", pattern=r"^[A-Za-z0-9._-]+$", description="The version in Code Assist's paths."
    )
    authorize_url: HttpUrl = Field(
        HttpUrl("https://accounts.google.com/o/oauth2/v2/auth"), description="Where a person says yes."
    )
    code_page_url: HttpUrl = Field(
        HttpUrl("https://codeassist.google.com/authcode"), description="The page that shows a code to be pasted."
    )
    token_url: HttpUrl = Field(HttpUrl("https://oauth2.googleapis.com/token"), description="Where tokens come from.")
    userinfo_url: HttpUrl = Field(
        HttpUrl("https://www.googleapis.com/oauth2/v2/userinfo"), description="Who a token belongs to."
    )
    client_id: str | None = Field(None, description="The OAuth client to log in and renew with.")
    client_secret: SecretStr | None = Field(None, description="Its secret.")
    installed_cli: bool = Field(
        True, description="Without ``client_id``: use the OAuth client of the Gemini CLI that is installed here."
    )
    callback_port: int = Field(0, ge=0, le=65535, description="Port that a login's browser comes back to; 0: any.")
    project: str | None = Field(None, description="Google Cloud project, where an account has none of its own.")
    onboard_s: float = Field(300, gt=0, le=3600, description="Longest wait for an account to be set up.")
    onboard_poll_s: float = Field(5, gt=0, description="How often is asked whether it is.")
    user_agent: str | None = Field(
        None, description="User-Agent of requests to Google; unset: proxy-core's own.", pattern=r"^[ -~]+$"
    )
    safety_off: bool = Field(
        True, description="``gemini_cli``: turn the safety filters off where a client says nothing."
    )
    previews: bool = Field(False, description="The names ``pro``, ``flash`` and ``auto`` mean preview models.")
    newest_flash: bool = Field(
        False, description="Send 3.5 Flash as ``gemini-3.8-flash``, as Google's newest flag does."
    )
    newest_lite: bool = Field(False, description="Send 3.1 Flash-Lite as ``gemini-3.5-flash-lite``.")
    paid_credits: bool = Field(False, description="Spend Google One AI credits on streamed preview models.")
    capacity_fallback: bool = Field(
        False, description="While a model has no capacity, ask the one listed as its stand-in instead."
    )
    quota_every_s: float = Field(300, ge=1, description="How often each login is asked for its quota.")
    signatures: int = Field(
        10_000, ge=0, description="Thought signatures kept for clients that do not send them back; 0: none."
    )
    signature_ttl_s: float = Field(3600, gt=0, description="How long a signature is kept.")
    models: StrList = Field(default_factory=list, description="Further models to list for ``gemini_cli``.")

    @field_validator("project")
    @classmethod
    def _project(cls, value: str | None) -> str | None:
        if value is not None and value.isdecimal():
            raise ValueError("a project id is wanted, not its number")
        return value

    @property
    def code_assist(self) -> str:
        """The base that methods are appended to with a colon."""
        return f"{str(self.code_assist_endpoint).rstrip('/')}/{self.code_assist_api_version}"

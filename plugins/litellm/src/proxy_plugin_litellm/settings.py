"""``[plugins.litellm]``."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, HttpUrl, SecretStr, field_validator, model_validator

from proxy_core import PluginSettings

#: The values of keywords with such names are never shown, logged or repeated.
_SECRET = re.compile(r"key|secret|token|password|credential|private|assertion", re.I)
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")
#: Keywords that the request sets, or that are up to the core.
_OURS = frozenset(
    "model messages input stream stream_options timeout max_retries num_retries retry_policy fallbacks "
    "context_window_fallback_dict custom_llm_provider mock_response mock_tool_calls callbacks success_callback "
    "failure_callback logger_fn metadata litellm_metadata cache caching drop_params client".split()
)


class ProviderKeywords(BaseModel):
    """``[plugins.litellm.providers.<name>]``: one of litellm's providers, with the keywords that its calls get."""

    model_config = ConfigDict(extra="allow", frozen=True, hide_input_in_errors=True)

    provider: str | None = Field(
        None, description="litellm's name for the provider, if it differs from the table's name."
    )

    @model_validator(mode="before")
    @classmethod
    def _hidden(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        for name in value:
            if name in _OURS:
                raise ValueError(f"{name} is not for settings to say")
        return {k: SecretStr(v) if isinstance(v, str) and _SECRET.search(k) else v for k, v in value.items()}

    def secrets(self) -> list[tuple[str, str]]:
        """The keywords whose names mark them as secret."""
        given = (self.model_extra or {}).items()
        return [(name, value.get_secret_value()) for name, value in given if isinstance(value, SecretStr)]

    def keywords(self) -> dict[str, Any]:
        """The keywords for litellm's functions, with secrets in plain text."""
        given = self.model_extra or {}
        return {k: v.get_secret_value() if isinstance(v, SecretStr) else v for k, v in given.items()}


def _named(value: object) -> object:
    """Read a list of names, or names separated by commas, as empty tables."""
    if isinstance(value, str):
        text = value.strip()
        value = json.loads(text) if text.startswith(("{", "[")) else [n.strip() for n in text.split(",") if n.strip()]
    return {str(name): {} for name in value} if isinstance(value, list) else value


class LitellmSettings(PluginSettings):
    """Which of litellm's providers there are, and with which keywords."""

    providers: Annotated[dict[str, ProviderKeywords], BeforeValidator(_named)] = Field(
        default_factory=dict, description="The litellm providers to use, each with the keyword arguments of its calls."
    )

    table_url: HttpUrl | None = Field(None, description="URL of a newer table of models; unset: use the installed one.")
    table_every_s: float = Field(86_400, ge=60, description="How often to check for a newer table, in seconds.")

    @field_validator("providers")
    @classmethod
    def _nameable(cls, value: dict[str, ProviderKeywords]) -> dict[str, ProviderKeywords]:
        for name in value:
            if not _NAME.fullmatch(name):
                raise ValueError(
                    f"{name!r} cannot be part of a model's name: lower-case letters, digits, '-', '_', '.'"
                )
        return value

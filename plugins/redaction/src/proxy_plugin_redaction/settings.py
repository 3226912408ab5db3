"""``[plugins.redaction]``."""

from __future__ import annotations

import re2
from pydantic import Field, field_validator, model_validator

from proxy_core import PluginSettings, StrList
from proxy_plugin_redaction.patterns import PERSONAL, SECRETS, Shape

#: In ``mask``: everything that is always redacted.
ALL_SECRETS = "secrets"


class RedactionSettings(PluginSettings):
    """``[plugins.redaction]``; ``PROXY_PLUGINS__REDACTION__<KEY>`` wins over the file."""

    personal: StrList = Field(default_factory=list, description="Personal data to redact in logs and records.")
    patterns: dict[str, str] = Field(default_factory=dict, description="Additional patterns by name, in RE2 syntax.")
    fields: StrList = Field(default_factory=list, description="Additional names of fields that contain secrets.")
    mask: StrList = Field(default_factory=list, description="What to mask in requests and restore in responses.")

    @field_validator("patterns")
    @classmethod
    def _compile(cls, patterns: dict[str, str]) -> dict[str, str]:
        for name, pattern in patterns.items():
            if not name.replace("_", "").isalnum() or name in PERSONAL or name in SECRETS or name == ALL_SECRETS:
                raise ValueError(f"{name!r} is not a free name of letters, digits and underscores")
            try:
                compiled = re2.compile(pattern, quiet())
            except re2.error as error:
                raise ValueError(f"{name}: not a pattern of RE2's syntax ({_message(error)})") from None
            if compiled.search("") is not None:
                raise ValueError(f"{name}: the pattern matches nothing at all, so it would match everywhere")
        return patterns

    @model_validator(mode="after")
    def _known(self) -> RedactionSettings:
        for kind in self.personal:
            if kind not in PERSONAL:
                raise ValueError(f"personal: {kind!r} is not one of {', '.join(PERSONAL)}")
        for kind in self.mask:
            if kind not in (*PERSONAL, *self.patterns, ALL_SECRETS):
                known = ", ".join((*PERSONAL, *self.patterns, ALL_SECRETS))
                raise ValueError(f"mask: {kind!r} is not one of {known}")
        return self

    def redacted(self) -> dict[str, Shape]:
        """What to redact in logs and records, by name."""
        return {**SECRETS, **self._own(), **{kind: PERSONAL[kind] for kind in self.personal}}

    def masked(self) -> dict[str, Shape]:
        """What to mask in requests, by name."""
        chosen: dict[str, Shape] = {}
        for kind in self.mask:
            chosen |= SECRETS if kind == ALL_SECRETS else {kind: {**PERSONAL, **self._own()}[kind]}
        return chosen

    def _own(self) -> dict[str, Shape]:
        return {
            name: Shape(pattern=f"(?:{pattern})", anchored=any(mark in pattern for mark in ("^", "$", r"\A", r"\z")))
            for name, pattern in self.patterns.items()
        }


def quiet() -> re2.Options:
    """Options that keep RE2 from printing patterns that it cannot compile."""
    options = re2.Options()
    options.log_errors = False
    return options


def _message(error: re2.error) -> str:
    message = error.args[0] if error.args else "unknown"
    return message.decode("utf-8", "replace") if isinstance(message, bytes) else str(message)

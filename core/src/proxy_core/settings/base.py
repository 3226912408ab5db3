"""What every table of settings is made of: the base model, and types of fields that many share."""

from __future__ import annotations

import json
import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, HttpUrl, SecretStr


class Table(BaseModel):
    """One table of ``proxy-core.toml``: frozen, unknown keys are errors, values never show in them."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def environment_name(name: str) -> str:
    """How a name is spelled in the environment: ``my-llm.v2`` is ``MY_LLM_V2``."""
    return re.sub(r"[^A-Za-z0-9]", "_", name).upper()


def listed(value: object) -> object:
    """Lists may be written as JSON or with commas where only a string fits (the environment)."""
    if isinstance(value, str):
        text = value.strip()
        return json.loads(text) if text.startswith("[") else [p.strip() for p in text.split(",") if p.strip()]
    return value


def _key(value: SecretStr) -> SecretStr:
    """A key as it goes into a header: no line end from a file, nothing a header cannot carry."""
    text = value.get_secret_value().strip()
    if not text or not text.isascii() or not text.isprintable():
        raise ValueError("a key is one line of printable ASCII characters")
    return SecretStr(text)


def _plain_url(value: HttpUrl) -> HttpUrl:
    if value.username or value.password or value.query or value.fragment:
        raise ValueError("an address without credentials, query or fragment is wanted; keys have their own setting")
    return value


StrList = Annotated[list[str], BeforeValidator(listed)]
Key = Annotated[SecretStr, AfterValidator(_key)]
BaseUrl = Annotated[HttpUrl, AfterValidator(_plain_url)]


def _capabilities(value: object) -> object:
    """A list of words is what it has."""
    value = json.loads(value) if isinstance(value, str) and value.lstrip().startswith("{") else listed(value)
    return {str(word): True for word in value} if isinstance(value, list | tuple) else value


class Described(Table):
    """What settings may say of a model, over what its provider and catalogs say."""

    context_length: int | None = Field(None, ge=1, description="Tokens it takes, as model lists say.")
    max_output_tokens: int | None = Field(None, ge=1, description="Tokens it gives at most, as model lists say.")
    input_modalities: StrList | None = Field(None, description="What it reads: ``text``, ``image``, ``audio``.")
    output_modalities: StrList | None = Field(None, description="What it writes.")
    capabilities: Annotated[dict[str, bool], BeforeValidator(_capabilities)] = Field(
        default_factory=dict, description="What it can: ``function_calling``, ``vision``; ``{ word = false }``: cannot."
    )

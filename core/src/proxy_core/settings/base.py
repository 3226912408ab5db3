"""The base model of every settings table, and field types that several tables share."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, HttpUrl, SecretStr

from proxy_core.jsons import loads
from proxy_core.settings.pasted import bare_key, unquoted


class Table(BaseModel):
    """One table of ``proxy-core.toml``: frozen; unknown keys are errors; error messages never contain values."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


@lru_cache(maxsize=4096)  # with many providers, each name is spelled hundreds of times
def environment_name(name: str) -> str:
    """A name as environment variables spell it: ``my-llm.v2`` becomes ``MY_LLM_V2``."""
    return re.sub(r"[^A-Za-z0-9]", "_", name).upper()


def listed(value: object) -> object:
    """A list; where only a string is possible (the environment), JSON or separated by commas, or lines of a file."""
    if isinstance(value, str):
        text = value.strip()
        return loads(text) if text.startswith("[") else [p.strip() for p in re.split("[,\n]", text) if p.strip()]
    return value


def _key(value: SecretStr) -> SecretStr:
    """A key as it is sent in a header: without a trailing newline from a file, printable ASCII only."""
    text = value.get_secret_value().strip()
    if not text or not text.isascii() or not text.isprintable():
        raise ValueError("a key is one line of printable ASCII characters")
    return SecretStr(text)


def _api_key(value: SecretStr) -> SecretStr:
    return _key(SecretStr(bare_key(value.get_secret_value())))


def _unbroken(value: SecretStr) -> SecretStr:
    """Clients may have a phrase as their key; no provider gives one."""
    if " " in value.get_secret_value():
        raise ValueError("a provider's key has no blanks in it; several keys are a list, or one on each line of a file")
    return value


def _unquoted(value: object) -> object:
    return unquoted(value) if isinstance(value, str) else value


def _with_scheme(value: object) -> object:
    if isinstance(value, str) and "://" not in value:
        raise ValueError("a URL begins with https:// or, on your own machine or network, with http://")
    return value


def _plain_url(value: HttpUrl) -> HttpUrl:
    if value.username or value.password or value.query or value.fragment:
        raise ValueError("the URL must not contain credentials, a query or a fragment; keys have their own setting")
    return value


_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::([0-9]{1,5}))?", re.ASCII)
_DEFAULT_PORTS = {("http", "80"), ("https", "443")}


def _origin(text: str) -> str:
    """An origin as browsers send it: in lower case, without a default port."""
    found = _ORIGIN.fullmatch(text.strip().lower().removesuffix("/"))
    if found is None:
        raise ValueError(
            "an origin is a scheme, a host and perhaps a port, such as https://app.example or http://localhost:3000; "
            "each has to be named: neither '*' nor 'null' is one"
        )
    scheme, host, port = found.groups()
    return f"{scheme}://{host}" + (f":{port}" if port and (scheme, port) not in _DEFAULT_PORTS else "")


def _origins(values: list[str]) -> list[str]:
    return [_origin(value) for value in values]


def _proxy(value: SecretStr) -> SecretStr:
    """A proxy's URL, which may contain a password, or a word."""
    text = value.get_secret_value().strip()
    scheme, _, rest = text.partition("://")
    if text not in PROXY_WORDS and not (scheme in PROXY_SCHEMES and rest):
        raise ValueError(
            f"a proxy is 'direct', 'environment' or a URL that begins with {'://, '.join(PROXY_SCHEMES)}://"
        )
    return SecretStr(text)


PROXY_WORDS = ("direct", "environment")
PROXY_SCHEMES = ("http", "https", "socks5", "socks5h", "socks4")
ProxyUrl = Annotated[SecretStr, AfterValidator(_proxy)]
StrList = Annotated[list[str], BeforeValidator(listed)]
Origins = Annotated[list[str], BeforeValidator(listed), AfterValidator(_origins)]
Key = Annotated[SecretStr, AfterValidator(_key)]
Keys = Annotated[list[Key], BeforeValidator(listed)]
#: A key of a client or, unbroken, of an upstream, without what is copied with it.
ApiKey = Annotated[SecretStr, AfterValidator(_api_key)]
UpstreamKey = Annotated[ApiKey, AfterValidator(_unbroken)]
BaseUrl = Annotated[HttpUrl, BeforeValidator(_with_scheme), BeforeValidator(_unquoted), AfterValidator(_plain_url)]


class NetworkSettings(Table):
    """How connections are made, for all providers or for one."""

    proxy: ProxyUrl | None = Field(
        None,
        description="Outbound proxy: a URL (``http``, ``https``, or with ``proxy-core[socks]`` installed ``socks5`` or "
        "``socks5h``); ``environment``: what ``HTTP_PROXY``, ``HTTPS_PROXY``, ``ALL_PROXY`` and ``NO_PROXY`` say; "
        "``direct``: none. Unset: none, for a provider that of ``[upstream]``.",
    )
    ca_file: Path | None = Field(
        None, description="PEM file of the certificate authorities to trust, instead of the usual ones."
    )
    client_certificate: Path | None = Field(
        None, description="PEM file of a certificate to present to servers that ask for one."
    )
    client_key: Path | None = Field(None, description="PEM file of its private key, if it is not in the same file.")


def _capabilities(value: object) -> object:
    """A list names the capabilities that the model has."""
    value = loads(value) if isinstance(value, str) and value.lstrip().startswith("{") else listed(value)
    return {str(word): True for word in value} if isinstance(value, list | tuple) else value


class Described(Table):
    """Model metadata from settings; it overrides what the provider and catalogs report."""

    context_length: int | None = Field(None, ge=1, description="Context window in tokens, shown in model lists.")
    max_output_tokens: int | None = Field(None, ge=1, description="Most output tokens, shown in model lists.")
    input_modalities: StrList | None = Field(
        None, description="Kinds of input that the model accepts: ``text``, ``image``, ``audio``."
    )
    output_modalities: StrList | None = Field(None, description="Kinds of output that the model produces.")
    capabilities: Annotated[dict[str, bool], BeforeValidator(_capabilities)] = Field(
        default_factory=dict,
        description="What the model supports, such as ``function_calling`` or ``vision``; ``{ vision = false }`` "
        "denies it.",
    )


class ModelOptions(Described):
    """One entry of ``[providers.<name>.models]``."""

    id: str | None = Field(None, description="The upstream's model id, if it differs from the public name.")
    options: dict[str, Any] = Field(
        default_factory=dict, description="Request fields to set when the client does not send them."
    )
    dialects: StrList = Field(
        default_factory=list, description="Wire formats for this model; unset: those of the provider."
    )
    input_price: float | None = Field(None, ge=0, description="US dollars per million prompt tokens.")
    cached_price: float | None = Field(
        None, ge=0, description="US dollars per million prompt tokens read from a cache; unset: ``input_price``."
    )
    cache_write_price: float | None = Field(
        None, ge=0, description="US dollars per million prompt tokens written to a cache; unset: ``input_price``."
    )
    output_price: float | None = Field(None, ge=0, description="US dollars per million completion tokens.")

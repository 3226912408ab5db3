"""Logins of the old folder: files in ``oauth_creds``, files that variables name, and variables that hold one."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct
from msgspec.structs import replace
from pydantic import SecretStr

from proxy_core import CredentialRefresher, Variable
from proxy_core.cli.api import Catalog, StoredCredential, VaultProblem, from_environment, printable, read_foreign
from proxy_plugin_mirrowel.importing.names import RETIRED

_FILE = re.compile(r"(?P<provider>[a-z0-9_]+?)_oauth_\d+", re.ASCII)
_PATH = re.compile(r"(?P<provider>[A-Z0-9_]+?)_OAUTH_(?P<n>\w+)", re.ASCII)
#: They contain ``_OAUTH_``, too.
_NO_PATHS = ("GEMINI_CLI_OAUTH_PORT", "SKIP_OAUTH_INIT_CHECK")
_PART = re.compile(
    r"(?P<provider>[A-Z0-9_]+?)_(?:(?P<n>\d+)_)?"
    r"(?:ACCESS_TOKEN|REFRESH_TOKEN|EXPIRY_DATE|CLIENT_ID|CLIENT_SECRET|TOKEN_URI|UNIVERSE_DOMAIN|EMAIL|PROJECT_ID|TIER)"
)


class FoundLogin(Struct, frozen=True, kw_only=True):
    """``what`` names the file or the variables. ``stored`` is ready for the vault; ``problem``: why there is none.

    ``idle``: the old proxy did not use it either.
    """

    what: str
    provider: str
    stored: StoredCredential | None = None
    problem: str = ""
    idle: bool = False
    names: Sequence[str] = ()


def from_files(files: Sequence[Path], catalog: Catalog) -> Iterator[FoundLogin]:
    """Those that the old proxy managed."""
    for path in files:
        match = _FILE.fullmatch(path.stem)
        what = f"{path.parent.name}/{path.name}"
        if match is None:
            problem = "not a name that the old proxy read: <provider>_oauth_<n>.json"
            yield FoundLogin(what=what, provider="", problem=problem)
        else:
            yield _read(what, match["provider"], path, catalog)


def from_paths(variables: Mapping[str, Variable], managed: Sequence[str], catalog: Catalog) -> Iterator[FoundLogin]:
    """Files that ``<PROVIDER>_OAUTH_<n>`` names; not read for a provider that has a file in ``oauth_creds``."""
    for name, variable in variables.items():
        match = _PATH.fullmatch(name)
        if match is None or name in _NO_PATHS:
            continue
        provider, value = match["provider"].lower(), variable.value.strip()
        found = FoundLogin(what=name, provider=provider, names=[name])
        if not value:
            yield replace(found, problem="it is empty", idle=True)
        elif provider in managed:
            yield replace(found, problem="read once, at the first start; oauth_creds has the copy", idle=True)
        else:
            folder = variable.file.parent if variable.file else Path()
            yield replace(
                _read(name, provider, folder / os.path.expanduser(os.path.expandvars(value)), catalog), names=[name]
            )


def from_variables(variables: Mapping[str, Variable], catalog: Catalog) -> Iterator[FoundLogin]:
    """Those that variables hold: ``GEMINI_CLI_1_ACCESS_TOKEN`` and so on."""
    groups: dict[tuple[str, str], list[str]] = {}
    for name in variables:
        if (match := _PART.fullmatch(name)) and (match["n"] or _is_alone(name, variables)):
            groups.setdefault((match["provider"], match["n"] or ""), []).append(name)
    for (prefix, number), names in groups.items():
        provider, what = prefix.lower(), "_".join(filter(None, (prefix, number, "*")))
        found = FoundLogin(what=what, provider=provider, names=names)
        refresher = refresher_of(provider, catalog)
        if refresher is None or refresher.environment is None:
            yield replace(found, problem=_no_plugin(provider, catalog))
        elif not number and any(other == prefix and n for other, n in groups):
            yield replace(found, problem="used only if there are none with numbers", idle=True)
        else:
            values = {name: variables[name].value for name in names}
            given = from_environment(refresher.environment, values, provider=provider, kind=refresher.kind)
            problem = "neither an access token nor a refresh token that can be sent"
            problem = _elsewhere(given[0].details, refresher) if given else problem
            stored = None if problem else replace(given[0], name=given[0].identity or f"variables-{number or 0}")
            yield replace(found, stored=stored, problem=problem)


def _elsewhere(details: Mapping[str, str | SecretStr], refresher: CredentialRefresher) -> str:
    """Where a login would be sent to, in words, if that is none of the vendor's servers; empty otherwise.

    A folder that is imported, unlike a login that somebody names, may have been made by anybody.
    """
    place = details.get("token_uri")
    to = _server(place.get_secret_value() if isinstance(place, SecretStr) else place or "")
    known = [_server(url) for url in refresher.servers]
    if place is None or to in known:
        return ""
    return (
        f"its token_uri would send its tokens to {printable(to)}, and not to {', '.join(known)}; "
        "if that is right, take it with proxy-core credentials import"
    )


def _server(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    return f"{parts.scheme}://{parts.netloc}".lower()


def _is_alone(name: str, variables: Mapping[str, Variable]) -> bool:
    """Whether it belongs to a login without a number: a project, for one, is also a setting by itself."""
    match = _PART.fullmatch(name)
    return match is not None and any(
        f"{match['provider']}_{part}" in variables for part in ("ACCESS_TOKEN", "REFRESH_TOKEN")
    )


def refresher_of(provider: str, catalog: Catalog) -> CredentialRefresher | None:
    known = catalog.providers.get(provider)
    return catalog.refreshers.get(known.credential_kind) if known else None


def _no_plugin(provider: str, catalog: Catalog) -> str:
    if provider in RETIRED:
        return f"no plugin: {RETIRED[provider]}"
    package = catalog.packages.get(provider)
    return f"import it again after: pip install {package}" if package else "no installed plugin has such logins"


def _read(what: str, provider: str, path: Path, catalog: Catalog) -> FoundLogin:
    found = FoundLogin(what=what, provider=provider)
    refresher = refresher_of(provider, catalog)
    if refresher is None:
        return replace(found, problem=_no_plugin(provider, catalog))
    problems: list[str] = []
    for form in refresher.files:
        try:
            tokens = read_foreign(path, form)
        except VaultProblem as problem:
            problems.append(printable(problem.why).rpartition(f"is not a file of {form.name!r}: ")[2])
            continue
        if elsewhere := _elsewhere(tokens.details, refresher):
            return replace(found, problem=elsewhere)
        name = tokens.identity or path.stem
        blank = StoredCredential(provider=provider, name=name, kind=refresher.kind, origin=f"copied from {path}")
        return replace(found, stored=replace(blank.with_tokens(tokens), added_at=datetime.now(UTC)))
    # It would be copied, so that it can only be copied is not what is wrong with it.
    wrong = [problem for problem in problems if "only be copied" not in problem] or problems
    return replace(found, problem=f"it cannot be used: {'; or '.join(dict.fromkeys(wrong))}")

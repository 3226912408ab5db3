"""Where a client finds the proxy, and how it gets its key without anyone copying it."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from urllib.parse import urlsplit

import click
from msgspec import Struct, field
from pydantic import SecretStr

from proxy_core import ModelInfo, SetupError, repr_without
from proxy_core.cli.api import LoadedSettings, processes

#: Not ``PROXY_API_KEY``: in a shell that also starts the proxy, that would add a client with the same key.
KEY_VARIABLE = "LLM_PROXY_KEY"
PLACEHOLDER = "provider/model"
_WINDOWS = sys.platform == "win32"
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_EVERYWHERE = ("0.0.0.0", "::", "")  # noqa: S104  # where the proxy listens, not where a client connects


class Key(Struct, frozen=True, kw_only=True):
    """A client's key. ``command`` prints it; ``file`` has it alone; ``value`` is ``None`` if it is not known here.

    ``variable``: the shell has to have it there.
    """

    __repr__ = repr_without("value")

    command: Sequence[str]
    file: Path | None = None
    variable: str = ""
    value: SecretStr | None = None

    def shell(self, windows: bool) -> str:
        """``command`` as one line for a shell."""
        return subprocess.list2cmdline(self.command) if windows else shlex.join(self.command)


class Endpoint(Struct, frozen=True, kw_only=True):
    """What the configuration of a client depends on. ``root`` is the proxy's URL without ``/v1``.

    ``models`` are names that the proxy serves, the default one first; empty: not known.
    ``described``: what settings say about some of them.
    ``chosen``: they were asked for, so the client is to use them instead of its own.
    ``assumed``: no proxy is running that would have said its URL.
    """

    root: str
    key: Key
    models: Sequence[str] = ()
    described: Mapping[str, ModelInfo] = field(default_factory=dict)
    chosen: bool = False
    assumed: bool = False
    home: Path
    cwd: Path = Path()
    variables: Mapping[str, str]
    windows: bool = False

    @property
    def v1(self) -> str:
        return f"{self.root}/v1"

    @property
    def model(self) -> str:
        """The model to use; a placeholder if none is known."""
        return self.models[0] if self.models else PLACEHOLDER

    def folder(self, variable: str, *default: str) -> Path:
        """The folder that a client's own variable names, or else its usual one."""
        found = self.variables.get(variable)
        return Path(found) if found else self.home.joinpath(*default)


def endpoint_of(
    loaded: LoadedSettings,
    *,
    url: str | None = None,
    client: str | None = None,
    key_file: Path | None = None,
    models: Sequence[str] = (),
) -> Endpoint:
    """Raises ``ClickException`` if settings do not say which proxy or which client."""
    own = loaded.sources.variables.items()
    variables = {name: variable.value for name, variable in own if not (variable.file or variable.secret)}
    running = None if url else _running_url(loaded)
    return Endpoint(
        root=_root(url) if url else running or _own_url(loaded),
        assumed=url is None and running is None,
        key=_key(loaded, variables, url, client, key_file),
        models=models or _exact(loaded),
        described=_described(loaded),
        chosen=bool(models),
        home=Path.home(),
        cwd=Path.cwd(),
        variables=variables,
        windows=_WINDOWS,
    )


def _root(url: str) -> str:
    root = url.rstrip("/").removesuffix("/v1")
    if not root.startswith(("http://", "https://")):
        raise click.UsageError("--url must begin with http:// or https://")
    return root


def _own_url(loaded: LoadedSettings) -> str:
    server = loaded.settings.server
    if server.port == 0:
        raise click.UsageError("server.port is 0, so every start has another port: start the proxy, or give --url")
    return _url("https" if server.tls_certificate else "http", server.host, server.port)


def _running_url(loaded: LoadedSettings) -> str | None:
    """Where the proxy that runs on these data listens: ``serve`` may have been given another port than settings have.

    Raises ``UsageError`` if there are several.
    """
    try:
        running = processes(loaded, "GET", "/admin/status", within_s=3)
    except (click.ClickException, SetupError):
        return None
    found = {process["url"] for process in running if process.get("url")}
    if len(found) > 1:
        raise click.UsageError(f"there are several running proxies: give --url, one of {', '.join(sorted(found))}")
    parts = urlsplit(found.pop()) if found else None
    return _url(parts.scheme, parts.hostname or "", parts.port or 0) if parts else None


def _url(scheme: str, host: str, port: int) -> str:
    host = "127.0.0.1" if host in _EVERYWHERE else host
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def _exact(loaded: LoadedSettings) -> list[str]:
    """The names in ``[models]`` that a client can request as they are."""
    return [name for name in loaded.settings.models if "*" not in name]


def _described(loaded: LoadedSettings) -> Mapping[str, ModelInfo]:
    return {
        name: ModelInfo(
            context_length=route.context_length,
            max_output_tokens=route.max_output_tokens,
            input_modalities=route.input_modalities,
            output_modalities=route.output_modalities,
        )
        for name, route in loaded.settings.models.items()
    }


# --- The key -----------------------------------------------------------------------------


def _key(
    loaded: LoadedSettings, variables: Mapping[str, str], url: str | None, client: str | None, key_file: Path | None
) -> Key:
    if key_file is not None:
        return _given(key_file)
    if url is not None and client is None and urlsplit(url).hostname not in _LOOPBACK:
        return _remote(variables)
    return key_of(loaded, client)


def key_of(loaded: LoadedSettings, client: str | None) -> Key:
    """The key of a client in the settings, or the generated one. Raises ``UsageError``."""
    if not loaded.settings.clients and client in (None, "default"):
        return key_file_of(loaded.data_dir / "client.key")
    name = _client_named(loaded, client)
    return Key(command=_own_command(loaded, name), value=loaded.settings.clients[name].key)


def _remote(variables: Mapping[str, str]) -> Key:
    """Of a proxy on another machine, nothing is known here but what a variable says."""
    given = variables.get(KEY_VARIABLE)
    command = variable_command(KEY_VARIABLE, _WINDOWS)
    return Key(command=command, variable=KEY_VARIABLE, value=SecretStr(given) if given else None)


def variable_command(name: str, windows: bool) -> Sequence[str]:
    return ("powershell", "-c", f"$env:{name}") if windows else ("printenv", name)


def file_command(path: PurePath, windows: bool) -> Sequence[str]:
    return ("powershell", "-c", f"Get-Content {powershell_word(str(path))}") if windows else ("cat", str(path))


def powershell_word(text: str) -> str:
    """In single quotes, where only they themselves have a meaning."""
    return "'" + text.replace("'", "''") + "'"


def _client_named(loaded: LoadedSettings, name: str | None) -> str:
    """The configured client of this name, or the only one. Raises ``UsageError``."""
    names = sorted(loaded.settings.clients)
    if name is None and len(names) == 1:
        return names[0]
    if name in names:
        return str(name)
    known = (
        f"the clients are {', '.join(names)}" if names else "no client is configured; the generated key is default's"
    )
    raise click.UsageError(f"choose one with --client: {known}" if name is None else f"no client {name!r}: {known}")


def _given(path: Path) -> Key:
    """The file that the user names. Raises ``UsageError`` if it does not have a key, or has more than that."""
    if not path.is_file():
        raise click.UsageError(f"--key-file: there is no file at {path}")
    key = key_file_of(path)
    if key.value is None or len(key.value.get_secret_value().split()) != 1:
        raise click.UsageError(f"--key-file: {path} does not contain a key, on one line and nothing else")
    return key


def key_file_of(path: Path) -> Key:
    """Where the file does not exist yet, as before the first start, the commands are right all the same."""
    path = path.absolute()
    try:
        value = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        value = ""
    return Key(command=file_command(path, _WINDOWS), file=path, value=SecretStr(value) if value else None)


def _own_command(loaded: LoadedSettings, name: str) -> Sequence[str]:
    """``proxy-core client-key NAME``, with the settings file: the client may run in any folder."""
    found = shutil.which("proxy-core")
    program = (found,) if found else (sys.executable, "-m", "proxy_core")
    file = loaded.sources.file
    return (*program, "client-key", name, *(("--config", str(file.absolute())) if file else ()))

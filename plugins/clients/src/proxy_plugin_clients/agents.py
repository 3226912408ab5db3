"""Coding agents: the files and variables that they read, and the models that they ask for by themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from proxy_core import JsonObject, ModelInfo
from proxy_plugin_clients.endpoint import KEY_VARIABLE, Endpoint
from proxy_plugin_clients.jsonc import leaves
from proxy_plugin_clients.program import ClientProgram, ConfigFile, Configuration, Format, Member, Rival

# --- Claude Code -------------------------------------------------------------------------

#: Of 2.1: the default, `--model sonnet`, and the small one for titles and summaries.
_CLAUDE_MODELS = {
    "ANTHROPIC_DEFAULT_OPUS_MODEL": "claude-opus-4-8",
    "ANTHROPIC_DEFAULT_SONNET_MODEL": "claude-sonnet-5",
    "ANTHROPIC_DEFAULT_HAIKU_MODEL": "claude-haiku-4-5-20251001",
}


#: It prefers these to the command that prints the key, and to the base URL.
_CLAUDE_WINNERS = (
    "ANTHROPIC_AUTH_TOKEN",
    "ANTHROPIC_API_KEY",
    "CLAUDE_CODE_USE_BEDROCK",
    "CLAUDE_CODE_USE_VERTEX",
    "CLAUDE_CODE_USE_FOUNDRY",
)
#: The older name of one of the above, and the model of the agents that it starts.
_CLAUDE_OTHER_MODELS = ("ANTHROPIC_SMALL_FAST_MODEL", "CLAUDE_CODE_SUBAGENT_MODEL")
_CLAUDE_MANAGED = (
    "/etc/claude-code/managed-settings.json",
    "/Library/Application Support/ClaudeCode/managed-settings.json",
    "C:/Program Files/ClaudeCode/managed-settings.json",
)


def _claude(endpoint: Endpoint) -> Configuration:
    """The base URL is the root: Claude Code appends ``/v1/messages`` to it."""
    own = ("ANTHROPIC_MODEL", *_CLAUDE_MODELS)
    named = [] if endpoint.chosen else [*own, *_CLAUDE_OTHER_MODELS]
    values = {
        "env": {"ANTHROPIC_BASE_URL": endpoint.root, **dict.fromkeys(own if endpoint.chosen else (), endpoint.model)},
        "apiKeyHelper": endpoint.key.shell(endpoint.windows),
    }
    unwanted = [*_CLAUDE_WINNERS, *(_CLAUDE_OTHER_MODELS if endpoint.chosen else ())]
    file = ConfigFile(
        path=endpoint.folder("CLAUDE_CONFIG_DIR", ".claude") / "settings.json",
        format="json",
        values=values,
        removes=[("env", name) for name in unwanted],
        keeps=[] if endpoint.chosen else [("model",), *(("env", name) for name in named)],
    )
    names = ("ANTHROPIC_BASE_URL", *_CLAUDE_WINNERS, *own)
    project = [endpoint.cwd / ".claude" / name for name in ("settings.json", "settings.local.json")]
    return Configuration(
        files=[file],
        run="claude",
        requests=[endpoint.model] if endpoint.chosen else list(_CLAUDE_MODELS.values()),
        preferred=[*_CLAUDE_WINNERS, *named],
        rivals=_rivals(
            "json", (*project, *map(Path, _CLAUDE_MANAGED)), ("apiKeyHelper",), ("model",), *(("env", n) for n in names)
        ),
    )


def _named(endpoint: Endpoint, file: ConfigFile, model: Mapping[str, Any]) -> ConfigFile:
    """``file`` with this model: in any case if it was asked for, otherwise unless there is one to keep."""
    if endpoint.chosen:
        return replace(file, values={**file.values, **model})
    return replace(file, defaults=model, keeps=[*file.keeps, *(member for member, _ in leaves(model))])


def _rivals(form: Format, paths: Sequence[Path], *members: Member) -> list[Rival]:
    return [Rival(path=path, format=form, members=members) for path in paths]


def _above(endpoint: Endpoint) -> Iterator[Path]:
    """The folder in which the client is started and those above it, up to the home folder without it."""
    for folder in (endpoint.cwd, *endpoint.cwd.parents):
        if folder == endpoint.home:
            return
        yield folder


# --- Codex -------------------------------------------------------------------------------

_CODEX_MODEL = "gpt-5.5"
_CODEX_WINDOW = ("model_context_window",)


#: Other ways to get a key, which it refuses beside ``auth``.
_CODEX_KEYS = ("env_key", "env_key_instructions", "experimental_bearer_token", "requires_openai_auth")


def _window(endpoint: Endpoint) -> int | None:
    """Of the model that was asked for. For a name that a client does not know, it assumes one."""
    return endpoint.described.get(endpoint.model, ModelInfo()).context_length if endpoint.chosen else None


def _codex(endpoint: Endpoint) -> Configuration:
    command, *arguments = endpoint.key.command
    provider = {
        "name": "proxy-core",
        "base_url": endpoint.v1,
        "wire_api": "responses",
        "auth": {"command": command, "args": arguments, "refresh_interval_ms": 300_000},
    }
    model: JsonObject = {"model": endpoint.model if endpoint.chosen else _CODEX_MODEL}
    window = _window(endpoint)
    if window is not None:
        model[_CODEX_WINDOW[0]] = window
    own = ("model_providers", "proxy-core")
    file = ConfigFile(
        path=endpoint.folder("CODEX_HOME", ".codex") / "config.toml",
        format="toml",
        values={"model_provider": "proxy-core", own[0]: {own[1]: provider}},
        removes=[*((*own, name) for name in _CODEX_KEYS), *([_CODEX_WINDOW] if endpoint.chosen and not window else [])],
        keeps=[("profile",)],
    )
    others = [*(folder / ".codex/config.toml" for folder in _above(endpoint)), Path("/etc/codex/managed_config.toml")]
    return Configuration(
        files=[_named(endpoint, file, model)],
        run="codex",
        default=model["model"],
        rivals=_rivals("toml", others, ("model",), ("model_provider",), ("profile",), own),
    )


# --- Gemini CLI and Qwen Code ------------------------------------------------------------

#: Of 0.61: what it chooses between by itself, and the small ones for its side requests.
_GEMINI_MODELS = ("gemini-3.1-pro-preview", "gemini-3-flash-preview", "gemini-3.5-flash-lite", "gemini-2.5-pro")


_GEMINI_TRUST = (
    "In a folder that you have not trusted, Gemini CLI does not read the .env: for gemini -p there, "
    "set GEMINI_CLI_TRUST_WORKSPACE=true."
)


def _gemini(endpoint: Endpoint) -> Configuration:
    """It asks for a key in a variable, and has no setting for a command or a file; ``.env`` in its folder is read."""
    base = endpoint.folder("GEMINI_CLI_HOME")
    folder, named, model = base / ".gemini", ("GEMINI_MODEL",), ("model", "name")
    variables = {"GOOGLE_GEMINI_BASE_URL": endpoint.root, "GEMINI_API_KEY": endpoint.key}
    settings = {"security": {"auth": {"selectedType": "gemini-api-key"}}}
    system = endpoint.folder("GEMINI_CLI_SYSTEM_SETTINGS_PATH", "/etc/gemini-cli/settings.json")
    return Configuration(
        files=[
            ConfigFile(
                path=folder / ".env",
                format="env",
                values=variables,
                removes=[named] if endpoint.chosen else [],
                keeps=[] if endpoint.chosen else [named],
            ),
            ConfigFile(
                path=folder / "settings.json",
                format="json",
                values={**settings, "model": {"name": endpoint.model}} if endpoint.chosen else settings,
                keeps=[] if endpoint.chosen else [model],
                extras=["comments"],
            ),
        ],
        run="gemini",
        requests=[endpoint.model] if endpoint.chosen else list(_GEMINI_MODELS),
        preferred=[*variables, *named],
        rivals=[
            *_instead(endpoint, ".gemini"),
            *_rivals(
                "json", (endpoint.cwd / ".gemini/settings.json", system), ("security", "auth", "selectedType"), model
            ),
        ],
        needed={("security", "auth", "enforcedType"): "gemini-api-key"},
        notes=[_GEMINI_TRUST],
    )


def _instead(endpoint: Endpoint, folder: str) -> list[Rival]:
    """Of all files with variables, both read the first one that they find on the way up."""
    paths = [path / name for path in _above(endpoint) for name in (f"{folder}/.env", ".env")]
    return [Rival(path=path, format="env", instead=True) for path in paths]


_QWEN_WINDOW = ("model", "generationConfig", "contextWindowSize")


def _qwen(endpoint: Endpoint) -> Configuration:
    folder = endpoint.folder("QWEN_HOME", ".qwen")
    variables = {"OPENAI_BASE_URL": endpoint.v1, "OPENAI_API_KEY": endpoint.key}
    named: dict[str, str] = {"OPENAI_MODEL": endpoint.model}
    model: dict[str, JsonObject] = {"model": {"name": endpoint.model}}
    window = _window(endpoint)
    if window is not None:
        model["model"][_QWEN_WINDOW[1]] = {_QWEN_WINDOW[2]: window}
    settings = {"security": {"auth": {"selectedType": "openai"}}}
    system = endpoint.folder("QWEN_CODE_SYSTEM_SETTINGS_PATH", "/etc/qwen-code/settings.json")
    providers = ("modelProviders", "openai")
    return Configuration(
        files=[
            _named(endpoint, ConfigFile(path=folder / ".env", format="env", values=variables), named),
            _named(
                endpoint,
                ConfigFile(
                    path=folder / "settings.json",
                    format="json",
                    values=settings,
                    removes=[_QWEN_WINDOW] if endpoint.chosen and window is None else [],
                    keeps=[providers],
                    extras=["comments"],
                ),
                model,
            ),
        ],
        run="qwen",
        default=endpoint.model,
        preferred=[*variables, *named],
        rivals=[
            *_instead(endpoint, ".qwen"),
            *_rivals(
                "json",
                (endpoint.cwd / ".qwen/settings.json", system),
                ("security", "auth", "selectedType"),
                ("model", "name"),
                providers,
            ),
        ],
    )


# --- OpenCode, aider ---------------------------------------------------------------------


#: It reads all of them; the first of these wins.
_OPENCODE_FILES = ("opencode.jsonc", "opencode.json")
_OPENCODE_KINDS = ("text", "audio", "image", "video", "pdf")
_OPENCODE_PREFIX = "proxy-core/"
_OPENCODE_PROJECT = tuple(f".opencode/{name}" for name in _OPENCODE_FILES)


def _opencode_model(name: str, info: ModelInfo) -> JsonObject:
    """It sends images only to a model that it knows to take them. A limit of 0 is one that it does not know."""
    model: JsonObject = {"name": name}
    if info.context_length or info.max_output_tokens:
        model["limit"] = {"context": info.context_length or 0, "output": info.max_output_tokens or 0}
    if info.input_modalities:
        kinds = {"input": info.input_modalities, "output": info.output_modalities or ["text"]}
        known = {way: [kind for kind in _OPENCODE_KINDS if kind in found] for way, found in kinds.items()}
        model |= {"modalities": known, "attachment": any(kind != "text" for kind in known["input"])}
    return model


def _opencode(endpoint: Endpoint) -> Configuration:
    """It does not ask for the list of models: the ones to choose from have to be in its file."""
    key_file = endpoint.key.file
    key = f"{{file:{key_file.as_posix()}}}" if key_file else f"{{env:{KEY_VARIABLE}}}"
    models = endpoint.models or [endpoint.model]
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "proxy-core",
        "options": {"baseURL": endpoint.v1, "apiKey": key},
        "models": {name: _opencode_model(name, endpoint.described.get(name, ModelInfo())) for name in models},
    }
    values = {"provider": {"proxy-core": provider}}
    folder = endpoint.folder("XDG_CONFIG_HOME", ".config") / "opencode"
    path = next((path for name in _OPENCODE_FILES if (path := folder / name).exists()), folder / "opencode.json")
    file = ConfigFile(
        path=path,
        format="json",
        values=values,
        keeps=[("enabled_providers",), ("disabled_providers",)],
        extras=["comments", "trailing commas"],
    )
    above = [*_above(endpoint), *([endpoint.home] if endpoint.cwd.is_relative_to(endpoint.home) else [])]
    projects = [place / name for place in above for name in (*_OPENCODE_FILES, *_OPENCODE_PROJECT)]
    named = endpoint.variables.get("OPENCODE_CONFIG")
    return Configuration(
        files=[_named(endpoint, file, {"model": f"{_OPENCODE_PREFIX}{models[0]}"})],
        variables={} if key_file or endpoint.key.variable else {KEY_VARIABLE: endpoint.key},
        run="opencode",
        requests=list(models),
        preferred=["OPENCODE_CONFIG_CONTENT"],
        rivals=_rivals("json", [*projects, *([Path(named)] if named else [])], ("model",), ("provider", "proxy-core")),
    )


def _aider(endpoint: Endpoint) -> Configuration:
    """``openai/`` says which dialect to speak; it does not reach the proxy."""
    folders = [endpoint.home, *_above(endpoint)]
    names = ("OPENAI_API_BASE", "OPENAI_API_KEY", "AIDER_MODEL", "AIDER_OPENAI_API_BASE", "AIDER_OPENAI_API_KEY")
    return Configuration(
        variables={
            "OPENAI_API_BASE": endpoint.v1,
            "OPENAI_API_KEY": endpoint.key,
            "AIDER_MODEL": f"openai/{endpoint.model}",
        },
        run="aider",
        requests=[endpoint.model],
        rivals=[
            *_rivals("env", [folder / ".env" for folder in folders], *((name,) for name in names)),
            *_rivals(
                "yaml",
                [folder / ".aider.conf.yml" for folder in folders],
                ("openai-api-base",),
                ("openai-api-key",),
            ),
        ],
    )


AGENTS: Sequence[ClientProgram] = (
    ClientProgram(
        name="claude",
        title="Claude Code",
        dialect="anthropic_messages",
        configure=_claude,
        pattern="claude-*",
        aliases=["default", "best", "opus", "sonnet", "haiku", "opusplan"],
        source="https://code.claude.com/docs/en/settings, tried with 2.1.197",
    ),
    ClientProgram(
        name="codex",
        title="Codex",
        dialect="openai_responses",
        configure=_codex,
        pattern="gpt-*",
        source="https://developers.openai.com/codex/config-advanced, tried with 0.171.0",
    ),
    ClientProgram(
        name="gemini",
        title="Gemini CLI",
        dialect="gemini",
        configure=_gemini,
        pattern="gemini-*",
        source="https://geminicli.com/docs/get-started/configuration, tried with 0.61.0",
    ),
    ClientProgram(
        name="qwen",
        title="Qwen Code",
        dialect="openai_chat",
        configure=_qwen,
        source="https://qwenlm.github.io/qwen-code-docs, tried with 0.15.10",
    ),
    ClientProgram(
        name="opencode",
        title="OpenCode",
        dialect="openai_chat",
        configure=_opencode,
        prefix=_OPENCODE_PREFIX,
        source="https://opencode.ai/docs/providers, tried with 1.18.33",
    ),
    ClientProgram(
        name="aider",
        title="aider",
        dialect="openai_chat",
        configure=_aider,
        source="https://aider.chat/docs/llms/openai-compat.html",
    ),
)

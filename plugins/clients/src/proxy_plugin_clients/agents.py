"""Coding agents: the files and variables that they read, and the models that they ask for by themselves."""

from __future__ import annotations

from collections.abc import Sequence

from proxy_plugin_clients.endpoint import KEY_VARIABLE, Endpoint
from proxy_plugin_clients.program import ClientProgram, ConfigFile, Configuration

# --- Claude Code -------------------------------------------------------------------------

#: Of 2.1: the default, `--model sonnet`, and the small one for titles and summaries.
_CLAUDE_MODELS = {
    "ANTHROPIC_DEFAULT_OPUS_MODEL": "claude-opus-4-8",
    "ANTHROPIC_DEFAULT_SONNET_MODEL": "claude-sonnet-5",
    "ANTHROPIC_DEFAULT_HAIKU_MODEL": "claude-haiku-4-5-20251001",
}


def _claude(endpoint: Endpoint) -> Configuration:
    """The base URL is the root: Claude Code appends ``/v1/messages`` to it."""
    models = dict.fromkeys(("ANTHROPIC_MODEL", *_CLAUDE_MODELS), endpoint.model) if endpoint.chosen else {}
    values = {
        "env": {"ANTHROPIC_BASE_URL": endpoint.root, **models},
        "apiKeyHelper": endpoint.key.shell(endpoint.windows),
    }
    path = endpoint.folder("CLAUDE_CONFIG_DIR", ".claude") / "settings.json"
    return Configuration(
        files=[ConfigFile(path=path, format="json", values=values)],
        run="claude",
        requests=[endpoint.model] if endpoint.chosen else list(_CLAUDE_MODELS.values()),
    )


# --- Codex -------------------------------------------------------------------------------

_CODEX_MODELS = ("gpt-5.5",)


def _codex(endpoint: Endpoint) -> Configuration:
    command, *arguments = endpoint.key.command
    provider = {
        "name": "proxy-core",
        "base_url": endpoint.v1,
        "wire_api": "responses",
        "auth": {"command": command, "args": arguments, "refresh_interval_ms": 300_000},
    }
    requested = [endpoint.model] if endpoint.chosen else list(_CODEX_MODELS)
    values = {"model": requested[0], "model_provider": "proxy-core", "model_providers": {"proxy-core": provider}}
    path = endpoint.folder("CODEX_HOME", ".codex") / "config.toml"
    return Configuration(files=[ConfigFile(path=path, format="toml", values=values)], run="codex", requests=requested)


# --- Gemini CLI and Qwen Code ------------------------------------------------------------

#: Of 0.61: what it chooses between by itself, and the small ones for its side requests.
_GEMINI_MODELS = ("gemini-3.1-pro-preview", "gemini-3-flash-preview", "gemini-3.5-flash-lite", "gemini-2.5-pro")


def _gemini(endpoint: Endpoint) -> Configuration:
    """It asks for a key in a variable, and has no setting for a command or a file; ``.env`` in its folder is read."""
    folder = endpoint.home / ".gemini"
    variables = {"GOOGLE_GEMINI_BASE_URL": endpoint.root, "GEMINI_API_KEY": endpoint.key}
    model = {"model": {"name": endpoint.model}} if endpoint.chosen else {}
    settings = {"security": {"auth": {"selectedType": "gemini-api-key"}}, **model}
    return Configuration(
        files=[
            ConfigFile(path=folder / ".env", format="env", values=variables),
            ConfigFile(path=folder / "settings.json", format="json", values=settings),
        ],
        run="gemini",
        requests=[endpoint.model] if endpoint.chosen else list(_GEMINI_MODELS),
    )


def _qwen(endpoint: Endpoint) -> Configuration:
    folder = endpoint.home / ".qwen"
    variables = {
        "OPENAI_BASE_URL": endpoint.v1,
        "OPENAI_API_KEY": endpoint.key,
        "OPENAI_MODEL": endpoint.model,
    }
    settings = {"security": {"auth": {"selectedType": "openai"}}, "model": {"name": endpoint.model}}
    return Configuration(
        files=[
            ConfigFile(path=folder / ".env", format="env", values=variables),
            ConfigFile(path=folder / "settings.json", format="json", values=settings),
        ],
        run="qwen",
        requests=[endpoint.model],
    )


# --- OpenCode, aider ---------------------------------------------------------------------


def _opencode(endpoint: Endpoint) -> Configuration:
    """It does not ask for the list of models: the ones to choose from have to be in its file."""
    file = endpoint.key.file
    key = f"{{file:{file.as_posix()}}}" if file else f"{{env:{KEY_VARIABLE}}}"
    models = endpoint.models or [endpoint.model]
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "proxy-core",
        "options": {"baseURL": endpoint.v1, "apiKey": key},
        "models": {name: {"name": name} for name in models},
    }
    values = {"model": f"proxy-core/{models[0]}", "provider": {"proxy-core": provider}}
    path = endpoint.folder("XDG_CONFIG_HOME", ".config") / "opencode" / "opencode.json"
    return Configuration(
        files=[ConfigFile(path=path, format="json", values=values)],
        variables={} if file else {KEY_VARIABLE: endpoint.key},
        run="opencode",
        requests=list(models),
    )


def _aider(endpoint: Endpoint) -> Configuration:
    """``openai/`` says which dialect to speak; it does not reach the proxy."""
    return Configuration(
        variables={
            "OPENAI_API_BASE": endpoint.v1,
            "OPENAI_API_KEY": endpoint.key,
            "AIDER_MODEL": f"openai/{endpoint.model}",
        },
        run="aider",
        requests=[endpoint.model],
    )


AGENTS: Sequence[ClientProgram] = (
    ClientProgram(
        name="claude",
        title="Claude Code",
        dialect="anthropic_messages",
        configure=_claude,
        pattern="claude-*",
        notes=["ANTHROPIC_AUTH_TOKEN and ANTHROPIC_API_KEY of the shell win over the file: unset them."],
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
        notes=["A .env in a project replaces the one in ~/.gemini; variables of the shell win over both."],
        source="https://geminicli.com/docs/get-started/configuration, tried with 0.61.0",
    ),
    ClientProgram(
        name="qwen",
        title="Qwen Code",
        dialect="openai_chat",
        configure=_qwen,
        notes=["A .env in a project replaces the one in ~/.qwen; variables of the shell win over both."],
        source="https://qwenlm.github.io/qwen-code-docs, tried with 0.15.10",
    ),
    ClientProgram(
        name="opencode",
        title="OpenCode",
        dialect="openai_chat",
        configure=_opencode,
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

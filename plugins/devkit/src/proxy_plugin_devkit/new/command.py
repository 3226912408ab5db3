"""``proxy-core plugin new NAME --kind KIND``."""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path

import click

#: Of each kind, what the package is and how it is used.
KINDS: Mapping[str, tuple[str, str]] = {
    "provider": (
        "A provider for proxy-core: Example.",
        "With a key in `EXAMPLE_API_KEY` or `[providers.example] api_keys`, its models are `example/MODEL`.",
    ),
    "sanitizer": (
        "Hides words from providers and clients of proxy-core.",
        "`[plugins.example] words` lists the words.",
    ),
    "redactor": (
        "Removes what matches a pattern from proxy-core's records.",
        "`[plugins.example] pattern` is the regular expression.",
    ),
    "refresher": (
        "Refreshes logins of Example for proxy-core.",
        "A provider whose `credential_kind` is `example_oauth` uses it.",
    ),
    "sink": (
        "Appends proxy-core's request records to a file.",
        "With `[records] enabled = true`, records are in `plugins/example/records.jsonl` of the data folder.",
    ),
    "store": ("A state store for proxy-core.", 'With `[state] url = "example://"`, proxies keep their state in it.'),
    "dialect": ("A wire format for clients of proxy-core.", "Clients send their requests to `/v1/example/chat`."),
}
#: Files of every kind: the template, and where it goes.
_COMMON = {
    "pyproject": "pyproject.toml",
    "readme": "README.md",
    "changelog": "CHANGELOG.md",
    "license": "LICENSE",
    "ci": ".github/workflows/ci.yml",
    "release": ".github/workflows/release.yml",
}
#: The core's own plugin, its package, and the keys of ``[plugins]`` beside the plugins' tables.
_TAKEN = ("core", "proxy_core", "disabled", "allowed", "required", "optional", "budget_s")
_IGNORED = ".venv/\n__pycache__/\n.pytest_cache/\ndist/\nconformance.json\n"


@click.group("plugin")
def group() -> None:
    """For plugin authors: start a plugin."""


@group.command("new")
@click.argument("name")
@click.option("--kind", type=click.Choice(list(KINDS)), default="provider", show_default=True, help="What it brings.")
@click.option("--folder", type=click.Path(path_type=Path), help="Where to put it; by default a folder of its own here.")
def new(name: str, kind: str, folder: Path | None) -> None:
    """Write a package whose tests pass: a plugin NAME with its tests, README, changelog and CI."""
    if problem := _problem(name):
        raise click.BadParameter(problem, param_hint="NAME")
    folder = folder or Path(f"proxy-plugin-{name.replace('_', '-')}")
    if folder.exists() and any(folder.iterdir()):
        raise click.ClickException(f"{folder} is not empty")
    for path, text in package(name, kind).items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    click.echo(f"{folder} has a plugin of the kind {kind}. Its tests pass:")
    click.echo(f"    cd {folder} && python -m venv .venv && . .venv/bin/activate && pip install -e '.[test]' && pytest")


def _problem(name: str) -> str:
    """What is wrong with the name; it becomes that of a package, a module, a table of settings and variables."""
    fits = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    if name != fits or not re.fullmatch(r"[a-z][a-z0-9_]{1,40}", name):
        better = f"{fits!r} would do" if re.fullmatch(r"[a-z][a-z0-9_]{1,40}", fits) else "as in 'my_vendor'"
        return f"use small letters, digits and single underscores, and begin with a letter: {better}"
    if keyword.iskeyword(name):
        return f"{name!r} is a word of Python; 'my_{name}' would do"
    if name in _TAKEN:
        return f"{name!r} has a meaning in [plugins] or in the proxy; 'my_{name}' would do"
    owner = next((entry.dist for entry in entry_points(group="proxy_core.plugins") if entry.name == name), None)
    return f"{name!r} is the name of a plugin of {owner.name}, which is installed" if owner is not None else ""


def package(name: str, kind: str) -> dict[str, str]:
    """The files of the package by path."""
    description, use = KINDS[kind]
    module = f"src/proxy_plugin_{name}"
    found = {path: _template(f"{template}.txt") for template, path in _COMMON.items()}
    found |= {
        ".gitignore": _IGNORED,
        f"{module}/__init__.py": _template(f"{kind}.py"),
        f"{module}/py.typed": "",
        f"tests/test_{name}.py": _template(f"{kind}.tests.txt"),
    }
    filled = {path: text.replace("@description@", description).replace("@use@", use) for path, text in found.items()}
    return {path: _named(text, name) for path, text in filled.items()}


def _template(name: str) -> str:
    return (files("proxy_plugin_devkit.new") / "templates" / name).read_text(encoding="utf-8")


def _named(text: str, name: str) -> str:
    """``example`` in each of its spellings."""
    title = name.replace("_", " ").title().replace(" ", "")
    text = text.replace("@dist@", name.replace("_", "-")).replace("EXAMPLE", name.upper())
    return text.replace("Example", title).replace("example", name)

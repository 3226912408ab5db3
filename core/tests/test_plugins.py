"""Finding, checking and asking plugins: one that is broken is skipped with a reason, the others load."""

import json
import os
import shutil
import stat
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import proxy_core
from proxy_core import PluginError, RotationSettings, SettingsError, Unavailable
from proxy_core.cli import cli
from proxy_core.errors import PluginConflict
from proxy_core.plugins.loader import Context, load_plugins
from proxy_core.plugins.registry import build_catalog
from proxy_core.runtime.builtin import BuiltIn
from proxy_core.runtime.start import start
from proxy_core.settings.loading import load

GOOD = """
from proxy_core import PluginInfo, Provider, hookimpl, Lifecycle
PLUGIN = PluginInfo(name="{name}", api=1)
@hookimpl
def proxy_providers(ctx):
    life = Lifecycle(status="limited", note="terms apply", link="https://example.com/terms")
    return [Provider(name="{name}_provider", encode=print, dialects=["openai_chat"], lifecycle=life)]
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a distribution with one plugin: its module's text, and the hook API its metadata names."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))

    def install(name, text, *, api=None, entry=None, more=""):
        module = f"plugin_under_test_{name}"
        (site / f"{module}.py").write_text(text)
        monkeypatch.delitem(sys.modules, module, raising=False)
        info = site / f"{module}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: dist-{name}\nVersion: 1.2\n")
        points = f"[proxy_core.plugins]\n{entry or name} = {module}\n"
        points += f"[proxy_core.hook_api]\n{entry or name} = v{api}\n" if api else ""
        (info / "entry_points.txt").write_text(points + more)
        return info

    return install


@pytest.fixture
def found(tmp_path, install):
    """Load everything; a good plugin called ``good`` is always among it."""
    install("good", GOOD.format(name="good"), api=1)

    def found(text="", **tables):
        (tmp_path / "proxy-core.toml").write_text(text)
        loaded = load(overrides=tables, environ={}, cwd=tmp_path)
        plugins = load_plugins(loaded, built_in=[BuiltIn(loaded)])
        return {plugin.name: plugin for plugin in plugins}

    return found


def started(tmp_path, tables=None):
    environ = {"PROXY_DATA_DIR": str(tmp_path / "data")}
    return start(load(overrides=tables or {}, environ=environ, cwd=tmp_path))


def test_a_good_plugin_is_active(found):
    good = found()["good"]

    assert (good.state, good.distribution, good.version, good.api) == ("active", "dist-good", "1.2", 1)
    assert good.hooks == ("proxy_providers",)
    assert [p.name for p in good.provided["proxy_providers"]] == ["good_provider"]


BROKEN = {
    "import fails": ("import nothing_of_this_name", "import failed: ModuleNotFoundError"),
    "exits at import": ("raise SystemExit(3)", "import failed: SystemExit"),
    "panics at import": ("class Panic(BaseException): pass\nraise Panic", "import failed: Panic"),
    "an API in words": (GOOD.format(name="bad").replace("api=1", "api='1'"), "api is a str, not int"),
    "no providers": (GOOD.format(name="bad").replace("api=1", "api=1, providers=None"), "is None, not list of str"),
    "one preset": (GOOD.format(name="bad").replace("api=1", "api=1, presets='bad'"), "presets is a str, not list"),
    "settings of another kind": (
        GOOD.format(name="bad").replace("api=1", "api=1, settings=dict"),
        "settings is the class dict, not a subclass of PluginSettings or None",
    ),
    "no hook": ("from proxy_core import PluginInfo\nPLUGIN = PluginInfo(name='bad', api=1)", "implements no hook"),
    "misspelt and unmarked": (
        GOOD.format(name="bad").replace("proxy_providers", "proxy_provider").replace("@hookimpl", ""),
        "proxy_provider is not marked with @hookimpl; did you mean 'proxy_providers'?",
    ),
    "exits in a hook": (GOOD.format(name="bad").replace("return [", "raise SystemExit(3); ["), "SystemExit: 3"),
    "panics in a hook": (GOOD.format(name="bad").replace("return [", "raise BaseException('x'); ["), "BaseException"),
    "no PLUGIN": ("x = 1", "has no PLUGIN"),
    "another name": (GOOD.format(name="other"), "its PLUGIN is named 'other'"),
    "another API": (GOOD.format(name="bad").replace("api=1", "api=99"), "written for hook API 99"),
    "misspelt hook": (
        GOOD.format(name="bad").replace("proxy_providers", "proxy_provider"),
        "no hook 'proxy_provider'; did you mean 'proxy_providers'?",
    ),
    "wrong argument": (GOOD.format(name="bad").replace("(ctx)", "(ctx, context)"), "context"),
    "async hook": (GOOD.format(name="bad").replace("\ndef", "\nasync def"), "must be a plain function"),
    "not a list": (GOOD.format(name="bad") + "\n@hookimpl\ndef proxy_sanitizers(ctx):\n    return 3", "not int"),
    "hook raises": (GOOD.format(name="bad").replace("return [", "raise KeyError('x'); ["), "KeyError"),
    "no settings": (
        GOOD.format(name="bad").replace("    life", "    from proxy_core import SettingsError\n"
        "    raise SettingsError(['plugins.bad.token: is needed'])\n    life"),
        "plugins.bad.token: is needed",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN.values(), ids=BROKEN)
def test_a_broken_plugin_is_skipped_with_a_reason_and_the_others_load(found, install, case):
    text, reason = case
    install("bad", text)

    plugins = found()

    assert plugins["bad"].state == "skipped"
    assert reason in plugins["bad"].reason
    assert "\n" not in plugins["bad"].reason
    assert plugins["good"].state == "active"


def test_wrong_settings_skip_their_plugin(found, install):
    settings = "from proxy_core import PluginSettings\nclass S(PluginSettings):\n    limit: int = 3\n"
    install("bad", settings + GOOD.format(name="bad").replace("api=1", "api=1, settings=S"))

    plugins = found("[plugins.bad]\nlimt = 4\n")

    assert "plugins.bad.limt: no such setting; did you mean 'limit'?" in plugins["bad"].reason
    assert plugins["good"].state == "active"


IMPORT_NOTED = "import pathlib\npathlib.Path({path!r}).touch()\n"
NOT_EVEN_IMPORTED = {
    "disabled": ({"plugins": {"disabled": ["bad"]}}, 1, "disabled"),
    "not allowed": ({"plugins": {"allowed": ["good"]}}, 1, "not allowed"),
    "another API in its metadata": ({}, 2, "skipped"),
}


@pytest.mark.parametrize("case", NOT_EVEN_IMPORTED.values(), ids=NOT_EVEN_IMPORTED)
def test_no_code_of_a_plugin_runs_when_metadata_or_settings_forbid_it(found, install, tmp_path, case):
    tables, api, state = case
    mark = tmp_path / "imported"
    install("bad", IMPORT_NOTED.format(path=str(mark)) + GOOD.format(name="bad"), api=api)

    plugins = found(**tables)

    assert plugins["bad"].state == state
    assert not mark.exists()
    assert plugins["good"].state == "active"


@pytest.mark.parametrize("text", [None, "raise ValueError", GOOD.format(name="bad")])
def test_a_required_plugin_that_is_not_active_stops_startup(found, install, tmp_path, text):
    if text is not None:
        install("bad", text)
    disabled = ["bad"] if text and "PLUGIN" in text else []

    with pytest.raises(PluginError, match="'bad'"):
        started(tmp_path, {"plugins": {"required": ["bad"], "disabled": disabled}})
    assert "good" in found(plugins={"required": ["bad"], "disabled": disabled})  # which lists of plugins still show


def test_of_two_plugins_with_one_name_neither_loads(found, install):
    install("twin", GOOD.format(name="good"), entry="good")

    loaded = load(environ={}, cwd=Path("/"))
    with_twin = load_plugins(loaded, built_in=[BuiltIn(loaded)])
    twins = [p for p in with_twin if p.name == "good"]

    assert [p.state for p in twins] == ["skipped", "skipped"]
    for plugin in twins:
        assert "dist-good" in plugin.reason
        assert "dist-twin" in plugin.reason
        assert "pip uninstall" in plugin.reason


LOOSE = """
from proxy_core import PluginInfo, Provider, hookimpl
PLUGIN = PluginInfo(name="loose", api=1, providers=["parrot"])
@hookimpl
def proxy_providers(ctx):
    return [Provider(name="grey", encode=print, dialects=["openai_chat"])]
"""


@pytest.fixture
def install_loose(install, tmp_path):
    """Install a file as a plugin by a module that only runs it, as ``proxy-core dev`` does."""

    def install_loose(name, text, *, entry):
        file = tmp_path / f"{name}.py"
        file.write_text(text)
        stub = f"__file__ = {str(file)!r}\nwith open(__file__) as _file:\n    _code = _file.read()\nexec(_code)\n"
        return install(name, stub, entry=entry)

    return install_loose


@pytest.mark.parametrize("broken", ["import nothing_of_this_name", "def ("], ids=["no import", "no syntax"])
@pytest.mark.parametrize("kind", ["package", "file"])
@pytest.mark.parametrize("name", ["parrot", "grey", "loose"])
def test_names_in_the_text_of_a_plugin_that_cannot_be_imported_are_its_own(
    found, install, install_loose, tmp_path, broken, kind, name
):
    found()
    (install if kind == "package" else install_loose)("other", LOOSE + broken, entry="other")
    providers = {name: {"base_url": "http://127.0.0.1:9/v1", "api_keys": ["key"]}}

    proxy = started(tmp_path, {"providers": providers}).current

    assert name not in proxy.catalog.providers
    with pytest.raises(Unavailable, match="belongs to the plugin 'other'"):
        proxy.services.router.resolve(f"{name}/small")


def test_of_two_loose_files_with_one_name_neither_loads_nor_is_replaced(found, install_loose, tmp_path):
    found()
    install_loose("a", LOOSE, entry="loose")
    install_loose("b", LOOSE, entry="loose")
    providers = {"parrot": {"base_url": "http://127.0.0.1:9/v1", "api_keys": ["key"]}}

    proxy = started(tmp_path, {"providers": providers}).current

    assert "parrot" not in proxy.catalog.providers
    reasons = {plugin.reason for plugin in proxy.catalog.plugins if plugin.name == "loose"}
    assert reasons == {"a.py and b.py both have a plugin 'loose': rename it in b.py, or remove that file"}


async def test_a_loose_file_that_was_removed_is_not_to_be_installed(found, install, install_loose, tmp_path):
    gone = install_loose("a", LOOSE.replace('"grey"', '"parrot"'), entry="loose")
    found()
    async with started(tmp_path, KEYS).current.open():
        pass
    shutil.rmtree(gone)
    install("rival", GOOD.format(name="rival").replace('"rival_provider"', '"parrot"'))

    (line,) = [line for line in started(tmp_path, KEYS).current.warnings if line.startswith("plugin rival")]
    assert "belongs to the plugin loose (it is no longer installed: put its file back)" in line


def test_two_providers_with_one_name_stop_startup(found, install, tmp_path, monkeypatch):
    install("rival", GOOD.format(name="rival").replace('"rival_provider"', '"good_provider"'))

    with pytest.raises(PluginConflict, match="'good_provider' is already provided by 'good'") as raised:
        build_catalog(list(found().values()))

    assert str(raised.value).startswith("plugin 'rival'")
    assert '[plugins] disabled = ["rival"]' in str(raised.value)
    assert '[plugins] disabled = ["good"]' in str(raised.value)
    monkeypatch.chdir(tmp_path)
    listed = CliRunner().invoke(cli, ["plugins"], catch_exceptions=False)
    assert listed.exit_code == 0
    assert "is already provided by 'good'" in listed.output
    assert "PluginConflict" not in CliRunner().invoke(cli, ["doctor"]).output
    assert started(tmp_path, {"plugins": {"disabled": ["rival"]}}).current.catalog.providers["good_provider"]


def test_a_guard_that_cannot_be_imported_is_told_once_by_doctor(found, install, tmp_path, monkeypatch):
    found()
    install("watcher", "import nothing_of_this_name\nfrom proxy_core import Redactor\nRedactor()")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PROXY_DATA_DIR", str(tmp_path / "data"))

    output = CliRunner().invoke(cli, ["doctor"]).output
    (line,) = [line for line in output.splitlines() if line.startswith("problem") and "watcher" in line]

    assert line.count("fix it") == 1
    assert line.endswith("the proxy does not start, or starts without it")


def test_a_plugin_is_not_named_like_a_key_of_the_table_of_plugins(found, install):
    install("allowed", GOOD.format(name="allowed"))

    assert found()["allowed"].state == "skipped"
    assert "a key of [plugins]" in found()["allowed"].reason


WRONG_RESULTS = {
    "a text": ("proxy_providers", '["a"]', "returned a str, not Provider"),
    "None": ("proxy_providers", "None", "must return a list, not None"),
    "one provider": ("proxy_providers", "Provider(name='x', encode=print)", "must return a list, not Provider"),
    "a name that is none": (
        "proxy_providers",
        "[Provider(name=None, encode=print, dialects=['openai_chat'])]",
        "returned a Provider whose name is None, not str",
    ),
    "one dialect": (
        "proxy_providers",
        "[Provider(name='x', encode=print, dialects='openai_chat')]",
        "dialects is a str, not list of str",
    ),
    "names for models": (
        "proxy_providers",
        "[Provider(name='x', encode=print, dialects=['openai_chat'], models=['a'])]",
        "models is a list with a str, not list of ModelSpec",
    ),
    "no function": ("proxy_providers", "[Provider(name='x', encode={})]", "encode is a dict, not function"),
    "no name": ("proxy_providers", "[Provider(name='', encode=print, dialects=['openai_chat'])]", "may not be empty"),
    "an odd page": ("proxy_admin_pages", "[AdminPage(path='/odd', respond=print)]", "a page's path must be"),
}


@pytest.mark.parametrize("case", WRONG_RESULTS.values(), ids=WRONG_RESULTS)
def test_a_plugin_whose_hook_returns_something_wrong_is_skipped_and_the_others_start(install, found, tmp_path, case):
    hook, result, reason = case
    install("bad", HOOK.format(hook=hook, result=result))
    found()

    plugins = started(tmp_path).current.catalog.plugins

    states = {plugin.name: (plugin.state, plugin.reason) for plugin in plugins}
    assert states["bad"][0] == "skipped"
    assert reason in states["bad"][1]
    assert states["good"][0] == "active"


HOOK = """
from proxy_core import AdminPage, PluginInfo, Provider, Redactor, Sanitizer, hookimpl
PLUGIN = PluginInfo(name="bad", api=1)
@hookimpl
def {hook}(ctx):
    return {result}
"""


def test_a_plugin_may_import_everything_at_once():
    namespace = {}
    exec("from proxy_core import *", namespace)

    assert {name for name in dir(proxy_core) if not name.startswith("_")} <= namespace.keys()
    assert namespace["Redactor"] is proxy_core.Redactor


def test_a_hook_that_is_not_marked_is_a_mistake(install, found):
    install("bad", HOOK.format(hook="proxy_providers", result="[]").replace("@hookimpl\n", ""))

    assert found()["bad"].reason == "proxy_providers is not marked with @hookimpl"


@pytest.mark.parametrize("hook", ["proxy_sanitizers", "proxy_redactors"])
@pytest.mark.parametrize("how", ["import fails", "hook fails", "not marked", "misspelt", "in a class", "another API"])
def test_a_guard_that_cannot_load_prevents_the_start_unless_it_is_optional(install, found, tmp_path, hook, how):
    text = HOOK.format(hook=hook, result="1 / 0" if how == "hook fails" else "[]")
    text = {
        "import fails": "import nothing_of_this_name\n" + text,
        "not marked": text.replace("@hookimpl\n", ""),
        "misspelt": text.replace(hook, hook[:-1]),
        "in a class": text.replace("@hookimpl\ndef", "class Plugin:\n  @hookimpl\n  def"),
    }.get(how, text)
    install("bad", text, api=99 if how == "another API" else None)
    found()

    with pytest.raises(PluginError, match=r"'bad': .*without its sanitizers or redactors.*optional"):
        started(tmp_path)
    optional = {"plugins": {"optional": ["bad"]}}
    assert "plugin bad is not used" in "\n".join(started(tmp_path, optional).current.warnings)
    assert found()["good"].state == "active"


def test_the_files_of_a_package_that_cannot_be_imported_tell_that_it_is_a_guard(install, found, tmp_path):
    info = install("bad", "")
    module = "plugin_under_test_bad"
    package = info.parent / module
    (info.parent / f"{module}.py").unlink()
    package.mkdir()
    (package / "__init__.py").write_text(f"from {module}.hooks import *")
    (package / "hooks.py").write_text(
        "import nothing_of_this_name\n" + HOOK.format(hook="proxy_redactors", result="[]")
    )
    found()

    with pytest.raises(PluginError, match=r"'bad': import failed.*without its sanitizers or redactors"):
        started(tmp_path)


async def test_a_guard_that_worked_at_the_last_start_is_missed(install, found, tmp_path):
    guard = HOOK.format(hook="proxy_redactors", result="[Redactor(name='bad', redact=dict)]")
    info = install("bad", guard)
    found()
    async with started(tmp_path).current.open():
        pass
    module = info.parent / "plugin_under_test_bad.py"

    module.write_text("import nothing_of_this_name")  # from which nobody could tell that it is a guard
    sys.modules.pop("plugin_under_test_bad")
    with pytest.raises(PluginError, match=r"'bad': import failed.*without its sanitizers or redactors"):
        started(tmp_path)
    shutil.rmtree(info)
    gone = started(tmp_path).current
    off = started(tmp_path, {"plugins": {"disabled": ["bad"]}}).current
    async with off.open():
        pass

    (line,) = [line for line in gone.warnings if "no longer installed" in line]
    assert "'bad', whose sanitizers or redactors" in line
    assert "pip install dist-bad" in line
    assert not [line for line in off.warnings if "no longer installed" in line]
    assert not [line for line in started(tmp_path).current.warnings if "no longer installed" in line]


def test_a_plugin_that_guards_nothing_keeps_no_proxy_from_starting(install, found, tmp_path):
    install("bad", "import nothing_of_this_name\n" + HOOK.format(hook="proxy_providers", result="[]"))
    found()

    warnings = started(tmp_path).current.warnings

    assert any("plugin bad is not used: import failed" in line for line in warnings)


COMMAND = """
import click
from proxy_core import PluginInfo, hookimpl
PLUGIN = PluginInfo(name="{name}", api=1)
@click.command("greet")
def greet():
    click.echo("hello")
@hookimpl
def proxy_cli_commands(ctx):
    return [greet]
"""


def test_of_two_plugins_with_one_command_neither_runs_and_other_commands_work(install, tmp_path, monkeypatch):
    install("one", COMMAND.format(name="one"))
    install("two", COMMAND.format(name="two"))
    monkeypatch.chdir(tmp_path)

    greeted = CliRunner().invoke(cli, ["greet"])
    listed = CliRunner().invoke(cli, ["plugins"], catch_exceptions=False)

    assert isinstance(greeted.exception, PluginConflict)
    assert '[plugins] disabled = ["two"]' in str(greeted.exception)
    assert listed.exit_code == 0


def test_a_group_of_commands_has_those_of_all_plugins_even_where_settings_are_wrong(install, tmp_path, monkeypatch):
    group = '@click.group("{group}")\ndef many(): pass\n@many.command("{name}")'
    for name, of in (("one", "import"), ("two", "import"), ("three", "take")):
        text = COMMAND.format(name=name).replace('@click.command("greet")', group.format(group=of, name=name))
        install(name, text.replace("return [greet]", "return [many]"))
    monkeypatch.chdir(tmp_path)

    assert CliRunner().invoke(cli, ["import", "one"]).output == "hello\n"
    assert CliRunner().invoke(cli, ["import", "two"]).output == "hello\n"
    assert CliRunner().invoke(cli, ["take", "three"]).output == "hello\n"
    (tmp_path / "proxy-core.toml").write_text("nonsense = 1\n")
    assert "mirrowel" in CliRunner().invoke(cli, ["import", "--help"]).output


WIRE = """
from msgspec.structs import replace
from proxy_core import Operation, PluginInfo, hookimpl
from proxy_core.dialects.openai_chat import DIALECT
PLUGIN = PluginInfo(name="odd", api=1)
async def answer(request, services):
    raise LookupError("a prompt")
def check(body):
    raise LookupError("a prompt")
@hookimpl
def proxy_dialects(ctx):
    return [replace(DIALECT, name="odd", paths=["/v1/odd"], operations=(), check=check, recognizes=None)]
@hookimpl
def proxy_operations(ctx):
    return [Operation(paths=["/v1/asked"], methods=["POST"], answer=answer)]
"""


@pytest.mark.parametrize("path", ["/odd", "/asked"])
async def test_code_that_is_not_watched_is_named_by_its_traceback(install, make_proxy, caplog, path):
    install("odd", WIRE)
    proxy = await make_proxy({})

    answers = [await proxy.post(path, {"model": "demo/x", "messages": []}) for _ in range(2)]

    for answer in answers:
        assert (answer.status, answer.error["code"]) == (500, "plugin_failed")
        assert "plugin 'odd' raised LookupError" in answer.error["message"]
        assert "a prompt" not in answer.error["message"]
    (line,) = [r for r in caplog.records if r.name == "proxy_core.plugins"]
    assert "plugin_under_test_odd.py:" in line.getMessage()
    assert isinstance(line.exc_info[1], LookupError)


# --- Names that belong to a plugin that is not there -------------------------------------


def test_the_name_of_a_plugin_that_fails_is_served_by_no_other(install, found, tmp_path):
    install("parrot", "import nothing_of_this_name")
    found()
    provider = {"base_url": "http://127.0.0.1:9/v1", "api_keys": ["a-key-of-the-parrot"]}
    tables = {"providers": {"parrot": provider, "demo": provider}, "models": {"*": ["demo/small"]}}

    proxy = started(tmp_path, tables).current

    assert "parrot" not in proxy.catalog.providers
    assert proxy.services.router.resolve("anything")[0].model == "small"
    with pytest.raises(Unavailable, match="belongs to the plugin 'parrot', which is not active here") as raised:
        proxy.services.router.resolve("parrot/grey")
    assert (raised.value.code, raised.value.waiting_helps) == ("plugin_not_active", False)


async def test_a_plugin_that_never_worked_takes_no_name_from_one_that_did(install, found, tmp_path):
    found()
    async with started(tmp_path).current.open():
        pass
    install("good_provider", "import nothing_of_this_name")

    proxy = started(tmp_path).current

    assert proxy.catalog.owner("proxy_providers", "good_provider") == "good"
    assert any("plugin good_provider is not used" in line for line in proxy.warnings)


def test_a_key_for_a_plugin_that_is_not_used_says_why(install, found, tmp_path):
    install("parrot", "import nothing_of_this_name")
    found()
    environ = {"PROXY_DATA_DIR": str(tmp_path / "data"), "PARROT_API_KEY_2": "a-key-of-the-parrot"}

    (line,) = [
        line for line in start(load(environ=environ, cwd=tmp_path)).current.warnings if line.startswith("PARROT_")
    ]

    assert "PARROT_API_KEY_2 is not used: its name belongs to the plugin parrot (import failed: ModuleNotFound" in line


@pytest.mark.parametrize("field", ["name=None", "dialects=None", "lifecycle='ended'", "models=3"])
def test_commands_list_a_plugin_whose_provider_is_wrong(install, found, tmp_path, monkeypatch, field):
    wrong = f"[replace(Provider(name='x', encode=print, dialects=['openai_chat']), {field})]"
    install("bad", HOOK.format(hook="proxy_providers", result=wrong) + "from msgspec.structs import replace\n")
    found()
    monkeypatch.chdir(tmp_path)

    listed = CliRunner().invoke(cli, ["plugins"], catch_exceptions=False)

    assert listed.exit_code == 0
    assert f"returned a Provider whose {field.partition('=')[0]} is" in listed.output


def test_no_other_plugin_serves_the_name_of_one_whose_hook_returns_something_wrong(install, found, tmp_path):
    install("parrot", HOOK.format(hook="proxy_providers", result="[3]").replace('"bad"', '"parrot"'))
    install("rival", GOOD.format(name="rival").replace('"rival_provider"', '"parrot"'))
    found()

    proxy = started(tmp_path).current

    assert "parrot" not in proxy.catalog.providers
    assert any("the provider parrot is left out: its name belongs" in line for line in proxy.warnings)


async def test_the_name_of_an_uninstalled_plugin_stays_its_own_until_settings_give_it_away(install, found, tmp_path):
    text = GOOD.format(name="gone").replace('"gone_provider"', '"parrot"')
    gone = install("gone", text)
    found()
    async with started(tmp_path, KEYS).current.open():
        pass
    shutil.rmtree(gone)
    install("rival", GOOD.format(name="rival").replace('"rival_provider"', '"parrot"'))

    kept = started(tmp_path, KEYS).current
    tables = {**KEYS, "plugins": {"disabled": ["gone"]}}
    given = started(tmp_path, tables).current
    async with given.open():
        pass

    assert "the provider 'parrot' is served by the plugin 'rival' now, no longer by 'gone'" in given.warnings
    assert not [line for line in started(tmp_path, KEYS).current.warnings if "no longer by" in line]
    assert "parrot" not in kept.catalog.providers
    (line,) = [line for line in kept.warnings if line.startswith("plugin rival")]
    assert "pip install dist-gone" in line
    assert '[plugins] disabled = ["gone"]' in line
    with pytest.raises(Unavailable, match="belongs to the plugin 'gone'"):
        kept.services.router.resolve("parrot/grey")
    assert given.catalog.owner("proxy_providers", "parrot") == "rival"
    assert "parrot" in started(tmp_path, KEYS).current.catalog.providers  # from then on, the line is not needed


def test_a_damaged_list_of_names_is_no_list(install, found, tmp_path):
    found()
    for damaged in (b"", b"[]", b'{"good_provider": 1}', b"\xff"):
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data" / "plugins-seen.json").write_bytes(damaged)
        assert "good_provider" in started(tmp_path).current.catalog.providers


KEYS = {"providers": {"good_provider": {"api_keys": ["a-key-of-the-good-one"]}}}


def test_a_table_for_a_plugin_that_is_not_there_is_a_mistake(found):
    with pytest.raises(SettingsError, match="did you mean 'good'"):
        found("[plugins.goood]\nx = 1\n")


def test_the_list_shows_state_reason_and_risk(found, install, tmp_path, monkeypatch):
    install("bad", "raise ValueError('no')")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "proxy-core.toml").write_text('[plugins]\ndisabled = ["openai_compat"]\n')

    table = CliRunner().invoke(cli, ["plugins"], catch_exceptions=False).output
    listed = json.loads(CliRunner().invoke(cli, ["plugins", "--json"], catch_exceptions=False).output)
    without = json.loads(CliRunner().invoke(cli, ["plugins", "--json", "--disable-plugin", "good"]).output)

    rows = {row["name"]: row for row in listed["plugins"]}
    assert rows["bad"]["reason"] == "import failed: ValueError: no"
    assert rows["good"]["providers"][0]["status"] == "limited"
    assert {"proxy_dialects", "proxy_selectors", "proxy_sanitizers"} <= set(rows["core"]["hooks"])
    assert rows["openai_compat"]["state"] == "disabled"
    for word in ("dist-good", "1.2", "terms apply", "https://example.com/terms", "import failed"):
        assert word in table
    states = {row["name"]: row["state"] for row in without["plugins"]}
    assert (states["good"], states["openai_compat"]) == ("disabled", "disabled")


def test_a_plugin_brings_commands(found, install, tmp_path, monkeypatch):
    command = """
import click
from proxy_core import PluginInfo, hookimpl
PLUGIN = PluginInfo(name="tool", api=1)
@click.command("greet")
def greet():
    click.echo("hello from a plugin")
@hookimpl
def proxy_cli_commands(ctx):
    return [greet]
"""
    install("tool", command)
    monkeypatch.chdir(tmp_path)

    assert "hello from a plugin" in CliRunner().invoke(cli, ["greet"], catch_exceptions=False).output
    assert "greet" in CliRunner().invoke(cli, ["--help"], catch_exceptions=False).output


@pytest.mark.parametrize(
    ("name", "package"),
    [
        *((name, "accounts") for name in ("init", "login", "credentials", "providers")),
        *((name, "doctor") for name in ("config", "doctor", "models", "plugins", "reload", "usage", "why")),
        ("import", "mirrowel"),
    ],
)
def test_a_command_of_a_plugin_that_is_not_there_names_the_plugin(tmp_path, monkeypatch, name, package):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PROXY_PLUGINS__DISABLED", package)

    done = CliRunner().invoke(cli, [name, "x"])

    assert done.exit_code == 2
    assert f"pip install proxy-plugin-{package}" in done.output


# --- Settings from variables of other names ----------------------------------------------

SOURCE = """
from proxy_core import FoundSettings, PluginInfo, SettingsSource
PLUGIN = PluginInfo(name="other", api=1)
def proxy(variables):
    given = variables["OTHER_PORT"]
    return FoundSettings(table={"server": {"port": given.value}}, origins={("server", "port"): str(given)})
def provider(variables, asked):
    return FoundSettings(table={"models": "m"} if asked.name == "demo" else {}, unused=[f"no use for {asked.name}"])
SOURCE = SettingsSource(proxy=proxy, provider=provider, unmatched=lambda variables, providers: [str(sorted(providers))])
"""


@pytest.fixture
def settings_of(tmp_path, install):
    def settings_of(text, file="", **environ):
        install("other", text, api=1, more="[proxy_core.settings_sources]\nother = plugin_under_test_other:SOURCE\n")
        (tmp_path / "proxy-core.toml").write_text(file)
        return load(environ=environ, cwd=tmp_path)

    return settings_of


def test_a_package_brings_names_of_its_own_between_the_file_and_nested_variables(settings_of, tmp_path):
    loaded = settings_of(SOURCE, "[server]\nport = 1\n[providers.demo]\n", OTHER_PORT="2")
    nested = load(environ={"OTHER_PORT": "2", "PROXY_SERVER__PORT": "3"}, cwd=tmp_path)

    assert (loaded.settings.server.port, nested.settings.server.port) == (2, 3)
    assert loaded.sources.named.origins == {("server", "port"): "environment variable OTHER_PORT"}
    assert list(loaded.provider("demo").models) == ["m"]
    assert loaded.without_effect({"x": RotationSettings()}) == ["['demo', 'x']", "no use for x"]


def test_a_mistake_in_such_a_variable_names_it(settings_of):
    with pytest.raises(SettingsError, match=r"server\.port: .* \(from environment variable OTHER_PORT\)"):
        settings_of(SOURCE, OTHER_PORT="many")


@pytest.mark.parametrize("switch", [{"PROXY_PLUGINS__DISABLED": "other"}, {"PROXY_PLUGINS__ALLOWED": "else"}])
def test_settings_that_keep_a_plugin_out_keep_its_names_out_before_it_is_imported(settings_of, switch):
    assert "other" not in settings_of("raise SystemExit", **switch).sources.others


def test_names_that_cannot_be_read_stop_the_start_and_name_the_plugin(settings_of):
    with pytest.raises(SettingsError, match="plugin other: its settings cannot be read: ValueError: no"):
        settings_of("raise ValueError('no')", OTHER_PORT="2")


SLIPS = {
    "plugins.disabled": {"disabled": ["goood"]},
    "plugins.allowed": {"allowed": ["goodd", "core"]},
}


@pytest.mark.parametrize(("key", "table"), SLIPS.items(), ids=SLIPS)
def test_a_misspelled_name_neither_keeps_a_plugin_nor_drops_a_guard(found, key, table):
    with pytest.raises(SettingsError, match=rf"{key}: no plugin is named .*; did you mean 'good'\?"):
        found(plugins=table)


def test_lists_may_name_plugins_that_are_not_installed(found):
    assert found(plugins={"disabled": ["nowhere"], "allowed": ["good", "elsewhere"]})["good"].state == "active"


@pytest.mark.parametrize("table", ['allowed = ["good"]', 'disabled = ["doctor"]'])
def test_a_command_whose_plugin_is_kept_out_says_how_to_let_it_in(install, tmp_path, monkeypatch, table):
    install("good", GOOD.format(name="good"), api=1)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "proxy-core.toml").write_text(f"[plugins]\n{table}\n")

    result = CliRunner().invoke(cli, ["doctor"])

    assert result.exit_code == 2
    assert "add doctor to [plugins] allowed, or remove it from disabled" in result.output


def test_the_folder_of_a_plugin_and_those_above_it_are_private_whatever_the_umask(tmp_path):
    loaded = load(environ={"PROXY_DATA_DIR": str(tmp_path / "a" / "data")}, cwd=tmp_path)
    before = os.umask(0)
    try:
        folder = Context("good", loaded).data_dir
    finally:
        os.umask(before)

    assert folder == tmp_path / "a/data/plugins/good"
    for private in (folder, *list(folder.parents)[:3]):
        assert stat.S_IMODE(private.stat().st_mode) == 0o700

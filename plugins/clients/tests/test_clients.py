"""``proxy-core setup`` and ``client-key``, run as programs in a home folder of their own."""

import json
import os
import stat
import sys
import tomllib

import pytest

from proxy_core.testing import run, serving
from proxy_plugin_clients import PLUGIN, jsonc
from proxy_plugin_clients.endpoint import Endpoint, Key
from proxy_plugin_clients.rivals import reported
from proxy_plugin_clients.setup import PROGRAMS

KEY = "canary-client-key"
TOML = f"""
[clients.laptop]
key = "{KEY}"
models = ["f*", "claude-*"]

[providers.home]
base_url = "http://127.0.0.1:1/v1"

[models]
fast = ["home/small", "home/big"]
"""
#: Nothing else has to be installed.
ALONE = {"PROXY_PLUGINS__ALLOWED": "clients"}
AGENTS = ("claude", "codex", "gemini", "qwen", "opencode")
#: Each agent's file, with something of the user's own in it.
EXISTING = {
    "claude": (".claude/settings.json", '{\n  "theme": "dark", "env": {"A": "1"}\n}\n'),
    "codex": (".codex/config.toml", '# mine\nmodel = "o3"  # for now\n\n[projects."/a"]\ntrust_level = "trusted"\n'),
    "gemini": (".gemini/.env", "# mine\nFOO=bar\nexport GEMINI_API_KEY=old\n"),
    "qwen": (".qwen/settings.json", '{"model": {"name": "old", "maxSessionTurns": 5}, "ui": {"theme": "x"}}'),
    "opencode": (
        "config/opencode/opencode.json",
        '{\n  // mine\n  "theme": "dark", "x": {"A": "1",}, "model": "a/b", /* last */\n}\n',
    ),
}


def test_the_plugin_has_the_name_of_its_package():
    assert (PLUGIN.name, PLUGIN.api) == ("clients", 1)


@pytest.fixture
def home(tmp_path):
    (tmp_path / "proxy-core.toml").write_text(TOML)
    return tmp_path


@pytest.fixture
def setup(home):
    async def setup(*arguments, code=0, answer="", **variables):
        found, output = await run(home, "setup", *arguments, stdin=answer, **ALONE, **variables)
        assert "Traceback" not in output, output
        assert KEY not in output, output
        assert found == code, output
        return output

    return setup


async def test_every_client_is_listed_and_shown_with_the_url_of_the_settings(setup):
    listed = await setup()

    assert all(name in listed and program.title in listed for name, program in PROGRAMS.items())
    for name in (*AGENTS, "openai", "llm"):
        output = await setup(name, "--model", "fast", PROXY_SERVER__PORT="8123")
        assert "http://127.0.0.1:8123" in output
        assert "client-key" in output  # of a configured client: a command prints it
        assert "fast" in output
        assert "[models]" not in output


async def test_an_unknown_client_is_answered_with_the_known_ones(setup):
    output = await setup("cursor", code=2)

    assert "no client 'cursor'" in output
    assert all(name in output for name in PROGRAMS)


async def test_names_that_no_model_has_are_reported_with_the_lines_to_add(setup):
    output = await setup("claude")

    assert "claude-opus-4-8, claude-sonnet-5" in output
    assert tomllib.loads(output[output.rindex("[models]") :]) == {"models": {"claude-*": ["home/small", "home/big"]}}


@pytest.mark.parametrize("name", ["gpt-5.5", "gpt-*", "*"])
async def test_a_mapped_name_is_not_reported(setup, home, name):
    (home / "proxy-core.toml").write_text(TOML + f'"{name}" = "home/small"\n')

    assert "[models]" not in await setup("codex")


async def test_a_model_that_the_client_may_not_request_is_reported(setup):
    for chosen in ((), ("--client", "laptop")):
        output = await setup("qwen", "--model", "home/small", *chosen)
        assert "The client laptop may not request home/small" in output


async def test_without_a_model_a_placeholder_is_shown_but_not_written(setup, home):
    (home / "proxy-core.toml").write_text(TOML[: TOML.index("[models]")])

    assert "choose one with --model" in await setup("opencode")
    assert "choose one with --model" in await setup("opencode", "--write", "--yes", code=2)
    assert not (home / "config").exists()


SEES = """
[models.sees]
deployments = ["home/small"]
context_length = 64000
max_output_tokens = 8000
input_modalities = ["text", "image", "smell"]
[models.small]
deployments = ["home/small"]
context_length = 9000
"""


async def test_clients_are_told_what_settings_say_about_a_model(setup, home):
    (home / "proxy-core.toml").write_text(TOML + SEES)

    await setup("opencode", "--model", "sees", "--model", "small", "--model", "fast", "--write", "--yes")
    await setup("codex", "--model", "sees", "--write", "--yes")

    models = json.loads((home / "config/opencode/opencode.json").read_text())["provider"]["proxy-core"]["models"]
    assert models == {
        "sees": {
            "name": "sees",
            "limit": {"context": 64000, "output": 8000},
            "modalities": {"input": ["text", "image"], "output": ["text"]},
            "attachment": True,
        },
        "small": {"name": "small", "limit": {"context": 9000, "output": 0}},
        "fast": {"name": "fast"},
    }
    codex = home / ".codex/config.toml"
    assert tomllib.loads(codex.read_text())["model_context_window"] == 64000
    await setup("codex", "--model", "fast", "--write", "--yes")
    assert "model_context_window" not in tomllib.loads(codex.read_text())


async def test_qwen_code_is_told_the_context_window_of_the_model_that_was_asked_for(setup, home):
    (home / "proxy-core.toml").write_text(TOML + SEES)
    qwen = home / ".qwen/settings.json"
    qwen.parent.mkdir()
    qwen.write_text('{"model": {"generationConfig": {"timeout": 5}}}')

    async def written(*options):
        await setup("qwen", *options, "--write", "--yes")
        return json.loads(qwen.read_text())["model"]

    assert await written() == {"generationConfig": {"timeout": 5}, "name": "fast"}
    sees = {"name": "sees", "generationConfig": {"timeout": 5, "contextWindowSize": 64000}}
    assert await written("--model", "sees") == sees
    assert await written() == sees
    assert await written("--model", "fast") == {"name": "fast", "generationConfig": {"timeout": 5}}


async def test_a_generated_key_is_read_from_its_file(setup, home):
    (home / "proxy-core.toml").unlink()

    shown = {name: await setup(name, "--model", "home/small") for name in AGENTS}

    file = f"{home}/data/proxy-core/client.key"
    assert f'"apiKeyHelper": "cat {file}"' in shown["claude"]
    assert f"{{file:{file}}}" in shown["opencode"]
    assert f'GEMINI_API_KEY="$(cat {file})"' in shown["gemini"]
    assert tomllib.loads(_block(shown["codex"], "config.toml"))["model_providers"]["proxy-core"]["auth"]["args"] == [
        file
    ]


def _block(output, name):
    """The file of this name in what was shown."""
    return output.split(f"{name}:\n")[1].split("\n\n#")[0]


async def test_of_several_clients_one_has_to_be_chosen(setup, home):
    (home / "proxy-core.toml").write_text(TOML + '\n[clients.desk]\nkey = "another"\n')

    assert "choose one with --client: the clients are desk, laptop" in await setup("claude", code=2)
    assert "no client 'x'" in await setup("claude", "--client", "x", code=2)
    assert "client-key desk" in await setup("claude", "--client", "desk")


async def test_the_key_of_a_client_is_printed_for_programs_that_ask_a_command(home):
    assert await run(home, "client-key", **ALONE) == (0, f"{KEY}\n")
    assert await run(home, "client-key", "laptop", **ALONE) == (0, f"{KEY}\n")
    (home / "proxy-core.toml").unlink()

    code, output = await run(home, "client-key", **ALONE)
    assert (code, "the first start of the proxy creates it" in output) == (1, True)


async def test_a_proxy_elsewhere_needs_its_url_and_a_key_of_its_own(setup, home):
    output = await setup("claude", "--url", "https://proxy.lan/v1/", "--model", "fast")
    assert '"ANTHROPIC_BASE_URL": "https://proxy.lan"' in output
    assert "printenv LLM_PROXY_KEY" in output
    assert "NODE_EXTRA_CA_CERTS" in output

    (home / "key").write_text("from-a-file\n")
    await setup("gemini", "--url", "https://proxy.lan", "--key-file", "key", "--model", "x", "--write", "--yes")
    assert "GEMINI_API_KEY=from-a-file\n" in (home / ".gemini/.env").read_text()

    assert "the key is not known here" in await setup("qwen", "--url", "https://a", "--model", "x", "--write", code=1)
    assert "must begin with http" in await setup("qwen", "--url", "proxy.lan", code=2)


async def test_port_0_needs_a_url(setup):
    assert "give --url" in await setup("claude", code=2, PROXY_SERVER__PORT="0")


@pytest.mark.parametrize(
    ("listening", "url"),
    [
        ({"PROXY_SERVER__HOST": "0.0.0.0"}, "http://127.0.0.1:8000"),
        ({"PROXY_SERVER__HOST": "::1"}, "http://[::1]:8000"),
        ({"PROXY_SERVER__TLS_CERTIFICATE": "c.pem", "PROXY_SERVER__TLS_KEY": "k.pem"}, "https://127.0.0.1:8000"),
    ],
)
async def test_the_url_is_one_that_a_client_can_connect_to(setup, listening, url):
    assert f'"{url}"' in await setup("claude", **listening)


async def test_the_url_is_that_of_the_running_proxy(setup, home):
    assert "No proxy is running here: http://127.0.0.1:8000 is from the settings" in await setup("claude")

    async with serving(home, **ALONE) as program:
        output = await setup("claude", "--write", "--yes")
        elsewhere = await setup("claude", "--url", "http://127.0.0.1:1")

    assert json.loads((home / ".claude/settings.json").read_text())["env"]["ANTHROPIC_BASE_URL"] == program.url
    assert "No proxy is running" not in output + elsewhere
    assert '"http://127.0.0.1:1"' in elsewhere


@pytest.mark.parametrize("content", [None, "", "two words\n", "one\ntwo\n", "schlüssel\n"])
async def test_a_key_file_without_a_key_is_an_error(setup, home, content):
    if content is not None:
        (home / "key").write_text(content)

    assert "--key-file" in await setup("claude", "--url", "http://a", "--key-file", "key", code=2)


@pytest.mark.parametrize("name", ["claude", "codex", "opencode"])
async def test_a_variable_with_the_key_is_asked_for_only_where_it_is_missing(setup, name):
    remote = (name, "--url", "https://proxy.lan", "--model", "fast")

    missing, given = await setup(*remote), await setup(*remote, LLM_PROXY_KEY="a-key")

    assert "LLM_PROXY_KEY is not set in this shell: it has to contain the client key" in missing
    assert "is not set" not in given
    assert "export" not in missing + given
    assert "a-key" not in given


# --- What else a client goes by ----------------------------------------------------------


def put(home, path, value):
    (home / path).parent.mkdir(parents=True, exist_ok=True)
    (home / path).write_text(value if isinstance(value, str) else json.dumps(value))


SECRET = "canary-secret"
#: What is in each agent's file, and what of it has to go.
OLD = {
    "claude": (
        ".claude/settings.json",
        f'{{"env": {{"ANTHROPIC_AUTH_TOKEN": "{SECRET}", "ANTHROPIC_BASE_URL": "https://u:{SECRET}@old"'
        f', "ANTHROPIC_API_KEY": "{SECRET}", "CLAUDE_CODE_USE_BEDROCK": "1"}}, "apiKeyHelper": "echo {SECRET}"}}',
        ["ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_API_KEY", "CLAUDE_CODE_USE_BEDROCK"],
    ),
    "codex": (
        ".codex/config.toml",
        f'[model_providers.proxy-core]\nexperimental_bearer_token = "{SECRET}"\nenv_key = "KEY"  # {SECRET}\n'
        f'auth = {{ command = "echo", args = ["{SECRET}"] }}\n[mcp_servers.a.env]\nTOKEN = "keep-{SECRET}"\n',
        ["experimental_bearer_token", "env_key"],
    ),
    "gemini": (".gemini/.env", f"GEMINI_API_KEY={SECRET}\nOTHER=keep-{SECRET}\nGEMINI_MODEL=old\n", ["GEMINI_MODEL"]),
    "qwen": (".qwen/.env", f"OPENAI_API_KEY='{SECRET}\n{SECRET}'\nOPENAI_BASE_URL=http://old\n", ["http://old"]),
    "opencode": (
        "config/opencode/opencode.json",
        f'{{"mcp": {{"a": {{"headers": {{"X": "keep-{SECRET}"}}}}}}, // {SECRET}\n'
        f'"provider": {{"proxy-core": {{"options": {{"apiKey": "{SECRET}"}}}}}}}}',
        [],
    ),
}


@pytest.mark.parametrize("name", AGENTS)
async def test_old_keys_are_replaced_or_removed_and_nowhere_shown(setup, home, name):
    path, text, gone = OLD[name]
    put(home, path, text)

    output = await setup(name, "--model", "fast", "--write", "--yes")
    written = (home / path).read_text()

    assert SECRET not in output
    assert "********" in output
    assert not [word for word in gone if word in written]
    assert written.count(f"keep-{SECRET}") == text.count(f"keep-{SECRET}")
    assert SECRET not in written.replace(f"keep-{SECRET}", "").replace(f"// {SECRET}", "")
    assert "nothing to change" in await setup(name, "--model", "fast", "--write", "--yes")


async def test_a_model_that_stays_is_said_and_looked_up(setup, home):
    put(home, ".claude/settings.json", {"model": "opus[1m]", "env": {"ANTHROPIC_MODEL": "mine"}})

    output = await setup("claude", "--write", "--yes")

    assert "settings.json keeps env.ANTHROPIC_MODEL = mine, and Claude Code goes by it" in output
    assert "keeps model = opus[1m]" in output
    assert "claude-haiku-4-5-20251001, mine." in output  # no deployment has that name
    assert "keeps" not in await setup("claude", "--model", "fast", "--write", "--yes")
    assert "ANTHROPIC_MODEL': 'fast'" in str(json.loads((home / ".claude/settings.json").read_text()))


@pytest.mark.parametrize(
    ("name", "path", "text"),
    [
        ("codex", ".codex/config.toml", 'model = "{}"\n'),
        ("qwen", ".qwen/.env", "OPENAI_MODEL={}\n"),
        ("qwen", ".qwen/settings.json", '{{"model": {{"name": "{}"}}}}'),
        ("opencode", "config/opencode/opencode.json", '{{"model": "proxy-core/{}"}}'),
    ],
)
async def test_a_model_in_the_clients_file_stays_unless_another_is_asked_for(setup, home, name, path, text):
    put(home, path, text.format("fine"))

    output = await setup(name, "--write", "--yes")
    assert f"{home / path} keeps " in output
    assert "requests models that the proxy does not have: fine." in output
    assert tomllib.loads(output[output.rindex("[models]") :])["models"] == {"fine": ["home/small", "home/big"]}
    files = [file.read_text() for file in (home / path).parent.iterdir() if file.suffix != ".bak"]
    assert not [file for file in files if '"model": "proxy-core/fast"' in file or '"name": "fast"\n  }' in file]
    assert not [file for file in files if "gpt-5.5" in file or "OPENAI_MODEL=fast" in file]
    assert [file for file in files if "fine" in file]
    assert "nothing to change" in await setup(name, "--write", "--yes")

    assert "keeps" not in await setup(name, "--model", "fast", "--write", "--yes")
    assert "fast" in (home / path).read_text()
    assert "fine" not in (home / path).read_text()


@pytest.mark.parametrize("name", ["codex", "qwen", "opencode"])
async def test_a_client_whose_files_name_no_model_gets_one(setup, home, name):
    (path, _), default = EXISTING[name], "gpt-5.5" if name == "codex" else "fast"
    put(home, path, {"codex": 'model = ""\n'}.get(name, "{}"))

    output = await setup(name, "--write", "--yes")

    assert "keeps" not in output
    assert default in (home / path).read_text()


async def test_a_model_of_another_service_stays_and_is_called_that(setup, home):
    put(home, "config/opencode/opencode.json", {"model": "a/b"})

    output = await setup("opencode", "--write", "--yes")

    assert "a/b is not a model of the proxy: --model NAME sets one" in output
    assert "does not have" not in output
    assert json.loads((home / "config/opencode/opencode.json").read_text())["model"] == "a/b"


async def test_only_names_that_are_missing_are_to_be_added(setup, home):
    put(home, ".claude/settings.json", {"env": {"ANTHROPIC_SMALL_FAST_MODEL": "small"}})

    both = await setup("claude")
    (home / "proxy-core.toml").write_text(TOML + '"claude-*" = "home/small"\n')
    one = await setup("claude")

    assert list(tomllib.loads(both[both.rindex("[models]") :].partition("\n\nThe client")[0])["models"]) == [
        "claude-*",
        "small",
    ]
    assert list(tomllib.loads(one[one.rindex("[models]") :].partition("\n\nThe client")[0])["models"]) == ["small"]


@pytest.mark.parametrize(
    ("name", "path", "value", "said"),
    [
        ("claude", ".claude/settings.local.json", {"env": {"ANTHROPIC_API_KEY": SECRET}}, "env.ANTHROPIC_API_KEY"),
        ("claude", ".claude/settings.local.json", "{", "cannot be read"),
        ("codex", ".codex/config.toml", f'profile = "{SECRET}"', "keeps profile"),
        ("qwen", ".qwen/settings.json", {"modelProviders": {"openai": [SECRET]}}, "keeps modelProviders.openai"),
        ("opencode", "config/opencode/opencode.json", {"enabled_providers": []}, "keeps enabled_providers"),
        ("opencode", "opencode.json", {"provider": {"proxy-core": {"a": 1}}}, "sets provider.proxy-core"),
        ("aider", ".env", f"export OPENAI_API_KEY={SECRET}", "sets OPENAI_API_KEY"),
        ("aider", ".aider.conf.yml", f"openai-api-key: {SECRET}", "sets openai-api-key"),
    ],
)
async def test_files_that_win_are_named(setup, home, name, path, value, said):
    assert said not in await setup(name, "--model", "fast")
    put(home, path, value)

    output = await setup(name, "--model", "fast")

    assert said in output
    assert str(home / path) in output
    assert SECRET not in output


@pytest.mark.parametrize("name", ["gemini", "qwen"])
def test_a_file_of_variables_on_the_way_up_is_read_instead(tmp_path, name):
    put(tmp_path, "home/project/.env", "A=1")
    endpoint = Endpoint(
        root="http://a",
        key=Key(command=["cat"]),
        home=tmp_path / "home",
        cwd=tmp_path / "home/project/deep",
        variables={},
    )

    (line,) = reported(PROGRAMS[name], PROGRAMS[name].configure(endpoint), endpoint)

    assert line == f"{tmp_path}/home/project/.env is read instead of the one that setup writes."


async def test_variables_of_the_shell_that_win_are_named(setup):
    for name, variable in (("claude", "ANTHROPIC_AUTH_TOKEN"), ("gemini", "GEMINI_API_KEY"), ("qwen", "OPENAI_MODEL")):
        told = f"{variable} is set in this shell and wins over the files"
        assert told not in await setup(name, "--model", "fast")
        output = await setup(name, "--model", "fast", **{variable: SECRET})
        assert told in output
        assert SECRET not in output
    same = await setup("qwen", "--model", "fast", OPENAI_MODEL="fast", OPENAI_BASE_URL="http://127.0.0.1:8000/v1")
    assert "wins" not in same


async def test_opencodes_file_with_comments_is_used_where_it_exists(setup, home):
    put(home, "config/opencode/opencode.json", {"model": "a/b"})
    put(home, "config/opencode/opencode.jsonc", '{\n  // mine\n  "model": "c/d",\n}\n')

    await setup("opencode", "--model", "fast", "--write", "--yes")

    written = (home / "config/opencode/opencode.jsonc").read_text()
    assert "// mine" in written
    assert jsonc.parse(written)["model"] == "proxy-core/fast"
    assert json.loads((home / "config/opencode/opencode.json").read_text()) == {"model": "a/b"}


# --- Writing -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", AGENTS)
async def test_written_files_keep_what_was_there_and_a_second_time_changes_nothing(setup, home, name):
    path, text = EXISTING[name]
    (home / path).parent.mkdir(parents=True)
    (home / path).write_text(text)

    output = await setup(name, "--model", "fast", "--write", "--yes")
    written = (home / path).read_text()
    again = await setup(name, "--model", "fast", "--write", "--yes")

    assert all(piece in written for piece in ("// mine", "/* last */", '"theme": "dark"', '"A": "1"') if piece in text)
    assert all(
        line in written for line in ("# mine", "FOO=bar", 'trust_level = "trusted"', "# for now") if line in text
    )
    assert '"maxSessionTurns": 5' in written or name != "qwen"
    (backup,) = (home / path).parent.glob(f"{(home / path).name}.*.bak")
    assert backup.read_text() == text
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    assert f"+++ {home / path}" in output
    assert "nothing to change" in again
    assert (home / path).read_text() == written


@pytest.mark.parametrize(
    ("name", "path", "comments", "commas"),
    [
        ("claude", ".claude/settings.json", False, False),
        ("gemini", ".gemini/settings.json", True, False),
        ("qwen", ".qwen/settings.json", True, False),
        ("opencode", "config/opencode/opencode.json", True, True),
    ],
)
async def test_a_file_that_its_client_could_not_read_is_left_as_it_is(setup, home, name, path, comments, commas):
    for content, fine, word in (
        ('{"a": "//"} // mine\n', comments, "comments"),
        ('{"a": [",]", 1,]}\n', commas, "trailing commas"),
    ):
        put(home, path, content)
        output = await setup(name, "--model", "fast", "--write", "--yes", code=0 if fine else 1)
        assert (f"it has {word}, which this client does not read: remove them" in output) == (not fine)
        assert ((home / path).read_text() == content) == (not fine)


async def test_an_enforced_way_to_log_in_is_named_where_gemini_would_not_start(setup, home):
    for path in (".gemini/settings.json", "system.json"):
        for value, stops in (("gemini-api-key", False), ("oauth-personal", True)):
            put(home, path, {"security": {"auth": {"enforcedType": value}}})
            output = await setup("gemini", GEMINI_CLI_SYSTEM_SETTINGS_PATH=f"{home}/system.json")
            assert (f"With security.auth.enforcedType in {home / path}, Gemini CLI does not start" in output) == stops
        (home / path).unlink()
    assert "GEMINI_CLI_TRUST_WORKSPACE=true" in output


async def test_dotted_keys_stay_where_they_are(setup, home):
    text = 'model_providers.azure.name = "A"\nmodel_providers.azure.base_url = "http://x"\napproval_policy = "never"\n'
    put(home, ".codex/config.toml", text)

    await setup("codex", "--client", "laptop", "--write", "--yes")

    found = tomllib.loads((home / ".codex/config.toml").read_text())
    assert found["model_providers"].pop("proxy-core")["auth"]["args"][:2] == ["client-key", "laptop"]
    assert (found.pop("model"), found.pop("model_provider")) == ("gpt-5.5", "proxy-core")
    assert found == tomllib.loads(text)


async def test_a_question_comes_first_and_no_means_no(setup, home):
    assert "Write this?" in await setup("claude", "--write", answer="n\n", code=1)
    assert not (home / ".claude").exists()

    assert "wrote" in await setup("claude", "--write", answer="y\n")
    assert json.loads((home / ".claude/settings.json").read_text())["env"] == {
        "ANTHROPIC_BASE_URL": "http://127.0.0.1:8000"
    }


async def test_a_file_with_the_key_is_for_its_owner_alone(setup, home):
    (home / ".gemini").mkdir()
    (home / ".gemini/.env").write_text("GEMINI_API_KEY=canary-client-key-before\n")
    (home / ".gemini/.env").chmod(0o644)

    await setup("gemini", "--write", "--yes")

    assert f"GEMINI_API_KEY={KEY}\n" in (home / ".gemini/.env").read_text()
    assert stat.S_IMODE((home / ".gemini/.env").stat().st_mode) == 0o600


async def test_a_link_is_followed_to_its_file_but_never_with_a_key(setup, home):
    (home / "dotfiles").mkdir()
    for name, link in (("claude.json", ".claude/settings.json"), ("env", ".gemini/.env")):
        (home / "dotfiles" / name).write_text("")
        (home / link).parent.mkdir()
        (home / link).symlink_to(home / "dotfiles" / name)

    await setup("claude", "--write", "--yes")
    output = await setup("gemini", "--write", "--yes", code=1)

    assert (home / ".claude/settings.json").is_symlink()
    assert "apiKeyHelper" in (home / "dotfiles/claude.json").read_text()
    assert "is a link" in output
    assert (home / "dotfiles/env").read_text() == ""
    assert not (home / ".gemini/settings.json").exists()


@pytest.mark.parametrize(
    ("name", "path", "content"),
    [
        ("claude", ".claude/settings.json", b'{"env": '),
        ("claude", ".claude/settings.json", b"[]"),
        ("codex", ".codex/config.toml", b"model = \n"),
        ("codex", ".codex/config.toml", b'model_providers = "mine"\nmodel = 1\nmodel = 2\n'),
        ("claude", ".claude/settings.json", b"\xff\xfe"),
        ("claude", ".claude/settings.json", b"[" * 100_000),
    ],
)
async def test_a_broken_file_is_left_as_it_is(setup, home, name, path, content):
    (home / path).parent.mkdir()
    (home / path).write_bytes(content)

    assert "was left as it is" in await setup(name, "--write", "--yes", code=1)
    assert (home / path).read_bytes() == content


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may write anywhere")
async def test_a_folder_that_cannot_be_written_is_named(setup, home):
    (home / ".claude").mkdir(mode=0o500)

    assert "could not be written" in await setup("claude", "--write", "--yes", code=1)


@pytest.mark.parametrize(
    ("name", "path", "content", "said"),
    [
        ("claude", ".claude/settings.json", '{"env": []}', "env is a list, and has to be an object"),
        ("claude", ".claude/settings.json", '{"apiKeyHelper": {}}', "apiKeyHelper is an object, and has to be a text"),
        ("codex", ".codex/config.toml", 'model_providers = "mine"', "model_providers is a text"),
        ("codex", ".codex/config.toml", "model = 5", "model is a number"),
        (
            "codex",
            ".codex/config.toml",
            "[model_providers.proxy-core.auth]\nargs = 1",
            "proxy-core.auth.args is a number",
        ),
        ("gemini", ".gemini/settings.json", '{"security": {"auth": true}}', "security.auth is true or false"),
        ("opencode", "config/opencode/opencode.json", '{"provider": "x"}', "provider is a text"),
    ],
)
async def test_a_value_of_another_kind_is_named_and_stays(setup, home, name, path, content, said):
    put(home, path, content)

    output = await setup(name, "--model", "fast", "--write", "--yes", code=1)

    assert f"{home / path} was left as it is: " in output
    assert said in output
    assert (home / path).read_text() == content
    assert not (home / ".gemini/.env").exists()


async def test_what_is_in_the_way_of_a_folder_is_named(setup, home):
    (home / ".claude").write_text("")

    assert str(home / ".claude") in await setup("claude", "--write", "--yes", code=1)


async def test_a_client_without_files_has_nothing_to_write(setup):
    assert "reads no file" in await setup("aider", "--write", code=2)


async def test_folders_that_clients_move_with_variables_are_found(setup, home):
    await setup("claude", "--write", "--yes", CLAUDE_CONFIG_DIR=f"{home}/c")
    await setup("codex", "--write", "--yes", CODEX_HOME=f"{home}/x")

    assert (home / "c/settings.json").exists()
    assert (home / "x/config.toml").exists()

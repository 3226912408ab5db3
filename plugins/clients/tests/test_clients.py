"""``proxy-core setup`` and ``client-key``, run as programs in a home folder of their own."""

import json
import os
import stat
import sys
import tomllib

import pytest

from proxy_core.testing import run
from proxy_plugin_clients import PLUGIN
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
AGENTS = ("claude", "codex", "gemini", "qwen", "opencode")
#: Each agent's file, with something of the user's own in it.
EXISTING = {
    "claude": (".claude/settings.json", '{\n  // mine\n  "theme": "dark", "env": {"A": "1",}, /* last */\n}\n'),
    "codex": (".codex/config.toml", '# mine\nmodel = "o3"  # for now\n\n[projects."/a"]\ntrust_level = "trusted"\n'),
    "gemini": (".gemini/.env", "# mine\nFOO=bar\nexport GEMINI_API_KEY=old\n"),
    "qwen": (".qwen/settings.json", '{"model": {"name": "old", "maxSessionTurns": 5}, "ui": {"theme": "x"}}'),
    "opencode": ("config/opencode/opencode.json", '{"$schema": "https://opencode.ai/config.json", "model": "a/b"}'),
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
        found, output = await run(home, "setup", *arguments, stdin=answer, **variables)
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
    assert await run(home, "client-key") == (0, f"{KEY}\n")
    assert await run(home, "client-key", "laptop") == (0, f"{KEY}\n")
    (home / "proxy-core.toml").unlink()

    code, output = await run(home, "client-key")
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

"""Real coding agents against the whole program, configured by ``proxy-core setup``, on scripted upstreams.

They are programs of hundreds of megabytes, so they are not installed for these tests, which run where
``PROXY_CORE_AGENTS`` names the folder of their executables:

    npm install --prefix agents @anthropic-ai/claude-code @openai/codex @google/gemini-cli @qwen-code/qwen-code \\
        opencode-ai
    PROXY_CORE_AGENTS=agents/node_modules/.bin uv run pytest -m slow tests/agents
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.matrix.upstreams import UPSTREAMS, Reply

from proxy_core.testing import run, serving

FOLDER = os.environ.get("PROXY_CORE_AGENTS", "")
GREETING, CONTENT, DONE = "hello-from-upstream", "written-by-the-agent", "the-file-is-written"
EDIT = "please-edit-the-file"
_LIMIT_S = 120


@dataclass(frozen=True, kw_only=True)
class Agent:
    """How an agent is started without a screen, and how it is told to write a file."""

    name: str
    arguments: tuple[str, ...]
    tool: str
    path: str = "file_path"
    content: str = "content"
    variables: Mapping[str, str] = field(default_factory=dict)
    settings: str = ""

    def call(self, file: Path):
        return self.tool, {self.path: str(file), self.content: CONTENT}


class Codex(Agent):
    """It writes files with its shell."""

    def call(self, file: Path):
        return self.tool, {"cmd": f"printf {CONTENT} > '{file}'"}


#: What is not for the proxy ends here; not every agent makes an exception for this machine.
_NOWHERE = {"HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1"}
_SILENT = '{\n  // mine\n  "privacy": {"usageStatisticsEnabled": false},\n  "general": {"enableAutoUpdate": false}\n}\n'

AGENTS = (
    Agent(
        name="claude",
        arguments=("-p", "{}", "--permission-mode", "acceptEdits"),
        tool="Write",
        variables={"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", **_NOWHERE},
    ),
    Codex(
        name="codex",
        arguments=("exec", "--skip-git-repo-check", "--sandbox", "danger-full-access", "{}"),
        tool="exec_command",
        variables=_NOWHERE,
    ),
    Agent(
        name="gemini",
        arguments=("--skip-trust", "--approval-mode", "yolo", "-p", "{}"),
        tool="write_file",
        settings=".gemini/settings.json",
    ),
    Agent(
        name="qwen",
        arguments=("--approval-mode", "yolo", "-p", "{}"),
        tool="write_file",
        settings=".qwen/settings.json",
    ),
    Agent(name="opencode", arguments=("run", "{}"), tool="write", path="filePath", variables=_NOWHERE),
)


def _cases():
    for agent in AGENTS:
        missing = not (FOLDER and shutil.which(agent.name, path=FOLDER))
        skip = pytest.mark.skipif(missing, reason=f"needs {agent.name} in the folder PROXY_CORE_AGENTS")
        for upstream in ("chat", "anthropic", "gemini"):
            yield pytest.param(agent, upstream, id=f"{agent.name}-{upstream}", marks=[skip, pytest.mark.slow])


@pytest.fixture
def home():
    with tempfile.TemporaryDirectory(prefix="pc-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _model(agent, file):
    """A model that greets, and calls the agent's tool once if it is asked to edit.

    Gemini CLI first asks how complex the task is.
    """

    def decide(request):
        if b"complexity_reasoning" in request.body:
            return Reply(text=('{"complexity_reasoning": "Simple.", "complexity_score": 5}',))
        if EDIT.encode() not in request.body or agent.tool.encode() not in request.body:
            return Reply(text=(GREETING,))
        if CONTENT.encode() in request.body:
            return Reply(text=(DONE,))
        return Reply(text=("I write it.",), calls=[agent.call(file)])

    return decide


def _settings(upstream):
    tables = "".join(
        f"[providers.{name}]\n" + "".join(f"{key} = {value!r}\n" for key, value in provider.items())
        for name, provider in upstream.providers.items()
    )
    return f"{tables}[models]\nfast = {upstream.model!r}\n"


@pytest.mark.parametrize(("agent", "upstream"), list(_cases()))
async def test_an_agent_finishes_a_turn_and_edits_a_file(home, agent, upstream):
    work = home / "work"
    work.mkdir()
    file, settings = work / "notes.txt", home / "proxy-core.toml"
    async with UPSTREAMS[upstream](_model(agent, file)) as server:
        server.checks = agent.name != upstream  # what Gemini CLI says to Google is its own affair
        settings.write_text(_settings(server))
        await _add_missing_models(home, agent, settings)
        async with serving(home) as program:
            if agent.settings:
                (home / agent.settings).parent.mkdir()
                (home / agent.settings).write_text(_SILENT)
            written = await run(home, "setup", agent.name, "--url", program.url, "--write", "--yes")
            assert written[0] == 0, written

            greeted = await _ask(agent, home, work, "say hello")
            assert GREETING in greeted, _explained(greeted, server, program)
            edited = await _ask(agent, home, work, f"{EDIT} {file.name}")
            assert DONE in edited, _explained(edited, server, program)
            assert file.read_text().strip() == CONTENT


async def _add_missing_models(home, agent, settings):
    """The lines that ``setup`` says are missing."""
    _, output = await run(home, "setup", agent.name)
    if "[models]\n" in output:
        settings.write_text(settings.read_text() + output.rpartition("[models]\n")[2])


async def _ask(agent, home, work, prompt):
    """Everything that the agent prints. It reaches nothing but this machine."""
    variables = {
        "PATH": f"{Path(FOLDER).resolve()}:{os.environ['PATH']}",
        "HOME": str(home),
        "XDG_CONFIG_HOME": f"{home}/config",
        "XDG_DATA_HOME": f"{home}/data",
        "NO_COLOR": "1",
        "CI": "1",
        **agent.variables,
    }
    process = await asyncio.create_subprocess_exec(
        str(Path(FOLDER).resolve() / agent.name),
        *(argument.format(prompt) for argument in agent.arguments),
        cwd=work,
        env=variables,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(_LIMIT_S):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            os.killpg(process.pid, 9)
    return output.decode(errors="replace")


def _explained(output, server, program):
    paths = [f"{request.method} {request.path}" for request in server.requests]
    return "\n".join([output, *paths, *(r.body.decode()[-2000:] for r in server.requests[-2:]), program.output])

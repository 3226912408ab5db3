"""Real coding agents, configured by ``proxy-core setup``, on the program and scripted upstreams; see README.md."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.agents.programs import NOWHERE, found, output_of
from tests.matrix.upstreams import UPSTREAMS, Reply

from proxy_core.testing import run, serving

GREETING, CONTENT, DONE = "hello-from-upstream", "written-by-the-agent", "the-file-is-written"
EDIT = "please-edit-the-file"


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


_SILENT = '{\n  // mine\n  "privacy": {"usageStatisticsEnabled": false},\n  "general": {"enableAutoUpdate": false}\n}\n'

AGENTS = (
    Agent(
        name="claude",
        arguments=("-p", "{}", "--permission-mode", "acceptEdits"),
        tool="Write",
        variables={"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", **NOWHERE},
    ),
    Codex(
        name="codex",
        arguments=("exec", "--skip-git-repo-check", "--sandbox", "danger-full-access", "{}"),
        tool="exec_command",
        variables=NOWHERE,
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
    Agent(name="opencode", arguments=("run", "{}"), tool="write", path="filePath", variables=NOWHERE),
)


def _cases():
    for agent in AGENTS:
        missing = found(agent.name) is None
        skip = pytest.mark.skipif(missing, reason=f"needs {agent.name} in PROXY_CORE_AGENTS")
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
            assert "failed to decode" not in greeted + edited
            assert file.read_text().strip() == CONTENT


async def _add_missing_models(home, agent, settings):
    """The lines that ``setup`` says are missing."""
    _, output = await run(home, "setup", agent.name)
    if "[models]\n" in output:
        settings.write_text(settings.read_text() + output.rpartition("[models]\n")[2])


async def _ask(agent, home, work, prompt):
    """Everything that the agent prints. It reaches nothing but this machine."""
    folders = {"XDG_CONFIG_HOME": f"{home}/config", "XDG_DATA_HOME": f"{home}/data"}
    arguments = (argument.format(prompt) for argument in agent.arguments)
    return await output_of([agent.name, *arguments], home=home, cwd=work, variables={**folders, **agent.variables})


def _explained(output, server, program):
    paths = [f"{request.method} {request.path}" for request in server.requests]
    return "\n".join([output, *paths, *(r.body.decode()[-2000:] for r in server.requests[-2:]), program.output])

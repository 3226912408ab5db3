"""Installed from wheels: the core by itself, and everything with the lowest versions that the packages name."""

import os
import shutil
import subprocess
import tomllib
import urllib.request
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PLUGINS = sorted(file.parent.name for file in ROOT.glob("plugins/*/pyproject.toml"))
OLDEST_PYTHON = "3.11"
#: What the tests need beside the packages; no floors of ours, so as pinned in the workspace, or the newest.
TOOLS = ("pytest-xdist", "openai", "jsonschema", "trustme")

#: At least one test of what each library does for us.
TESTS = """
    core/tests/test_plugins.py core/tests/test_settings.py core/tests/test_vault.py
    core/tests/test_state_memory.py core/tests/test_state_sqlite.py
    tests/e2e/test_relay.py tests/e2e/test_openai_client.py tests/e2e/test_server.py
    tests/e2e/test_config_cli.py
    plugins/accounts plugins/dashboard plugins/doctor plugins/estimates plugins/gemini_cli/tests/test_keychain.py
    plugins/oauth/tests/test_oauth_tokens.py
    plugins/http_servers plugins/jsonl plugins/mirrowel plugins/otel plugins/prometheus plugins/redaction plugins/redis
    plugins/top
""".split()
#: litellm asks for higher versions of what the core stands on, so it is tried by itself, with what extras of the
#: core install.
SETS = {
    "all but litellm": ([name for name in PLUGINS if name != "litellm"], TESTS),
    "litellm": (
        ["http_servers", "litellm"],
        ["plugins/litellm/tests/test_litellm.py", "plugins/litellm/tests/test_counting.py"],
    ),
}


def project(folder):
    return tomllib.loads((ROOT / folder / "pyproject.toml").read_text())["project"]


def floors(folder):
    """The lowest version of each library that a package names, its extras included."""
    found = project(folder)
    for text in chain(found["dependencies"], *found.get("optional-dependencies", {}).values()):
        requirement = Requirement(text)
        lowest = [Version(s.version) for s in requirement.specifier if s.operator == ">="]
        # pydantic-core has none: pydantic names the one version that it goes with.
        if lowest and (requirement.marker is None or requirement.marker.evaluate()):
            yield requirement.name, lowest[0]


def pinned(name):
    constraints = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"]["constraint-dependencies"]
    return next((text for text in constraints if Requirement(text).name == name), name)


class Environment:
    """A fresh one, with the oldest Python and nothing of this one's."""

    def __init__(self, folder):
        self.folder, self.python = folder, folder / "venv" / "bin" / "python"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
        self.variables = {**kept, "PYTHONDONTWRITEBYTECODE": "1"}
        self.uv = shutil.which("uv") or pytest.skip("needs uv")

    def run(self, *command, cwd=None, limit_s=300):
        done = subprocess.run(
            command,
            cwd=cwd or self.folder,
            env=self.variables,
            capture_output=True,
            text=True,
            timeout=limit_s,
        )
        assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
        return done.stdout

    def make(self):
        command = [self.uv, "venv", "--quiet", "--no-python-downloads", "--python", OLDEST_PYTHON, "venv"]
        if subprocess.run(command, cwd=self.folder, env=self.variables, capture_output=True).returncode:
            pytest.skip(f"needs Python {OLDEST_PYTHON}")

    def install(self, *what):
        options = ["--quiet", "--no-config", "--no-build", "--compile-bytecode", "--python", str(self.python)]
        self.run(self.uv, "pip", "install", *options, *what)

    def served(self, home, path):
        """The answer to ``path`` of ``python -m proxy_core serve``, asked with the key that it made."""
        folders = {"PATH": os.environ["PATH"], "HOME": str(home), "PROXY_DATA_DIR": str(home)}
        command = [str(self.python), "-m", "proxy_core", "serve", "--port", "0"]
        with subprocess.Popen(
            command, cwd=home, env=folders, stderr=subprocess.STDOUT, stdout=subprocess.PIPE
        ) as proxy:
            try:
                lines = (line.decode() for line in proxy.stdout)
                url = next(line.partition("listens on ")[2].split()[0] for line in lines if "listens on " in line)
                key = (home / "client.key").read_text().strip()
                request = urllib.request.Request(url + path, headers={"authorization": f"Bearer {key}"})
                with urllib.request.urlopen(request, timeout=30) as answer:
                    return answer.read().decode()
            finally:
                proxy.terminate()

    def installed(self, names):
        code = "import sys, importlib.metadata as m; print(*(m.version(n) for n in sys.argv[1:]))"
        return [Version(found) for found in self.run(str(self.python), "-c", code, *names).split()]


@pytest.mark.slow
@pytest.mark.parametrize(("plugins", "tests"), SETS.values(), ids=SETS)
def test_the_lowest_versions_named_are_enough(tmp_path, wheels, plugins, tests):
    folders = ["core", *(f"plugins/{name}" for name in plugins)]
    files = [next(wheels.glob(f"{project(folder)['name'].replace('-', '_')}-*.whl")) for folder in folders]
    named = [option for folder in folders for option in ("-r", str(ROOT / folder / "pyproject.toml"))]
    environment = Environment(tmp_path)
    environment.make()

    environment.install("--no-sources", "--resolution", "lowest-direct", *named, "--all-extras", *map(str, files))
    environment.install(*map(pinned, TOOLS))

    wanted = dict(floor for folder in folders[-1 if "litellm" in plugins else 0 :] for floor in floors(folder))
    assert dict(zip(wanted, environment.installed(wanted), strict=True)) == wanted
    environment.run(
        *(str(environment.python), "-m", "pytest", "-q", "-n2", "-p", "no:cacheprovider", "-m", "not slow", *tests),
        cwd=ROOT,
        limit_s=900,
    )


@pytest.mark.slow
def test_the_core_needs_no_plugin_and_no_extra(tmp_path, wheels):
    environment = Environment(tmp_path)
    environment.make()
    environment.install(str(next(wheels.glob("proxy_core-*.whl"))))

    program = "import importlib.metadata as m; print(m.entry_points(group='proxy_core.plugins'))"
    listed = environment.run(str(environment.python), "-c", program)
    models = environment.served(tmp_path, "/v1/models")

    assert listed.strip() in ("()", "[]")
    assert models == '{"object":"list","data":[]}'

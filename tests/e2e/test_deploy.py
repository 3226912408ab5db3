"""The files in docs/deploy, as far as they can be tried without what they are for."""

import asyncio
import plistlib
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import httpx
import pytest
import yaml

from proxy_core import SettingsError
from proxy_core.interfaces.servers import GRACE_S
from proxy_core.server.serve import check_platform
from proxy_core.settings.loading import load
from proxy_core.settings.schema import ServerSettings
from proxy_core.testing.program import run, serving

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "docs" / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
#: What a graceful stop may take: the grace period, what is interrupted then, and closing.
STOP_S = ServerSettings().shutdown_grace_s + 2 * GRACE_S


class _Loader(yaml.SafeLoader):
    """Also reads the tags that Compose has."""


_Loader.add_multi_constructor("!", lambda loader, tag, node: loader.construct_sequence(node))


def documents(name):
    return list(yaml.load_all((DEPLOY / name).read_text(), _Loader))  # a subclass of the safe one


def image_variables():
    """What the image sets, without what is not the proxy's."""
    (line,) = re.findall(r"^ENV (.*)$", DOCKERFILE, re.M)
    return {key: value for key, value in (word.split("=", 1) for word in shlex.split(line)) if key != "PATH"}


def unit(name="proxy-core.service"):
    lines = (DEPLOY / name).read_text().splitlines()
    return [tuple(line.split("=", 1)) for line in lines if "=" in line and not line.startswith("#")]


def check_secrets(names, tmp_path):
    """Each is the name of a variable that sets something."""
    folder = tmp_path / "secrets"
    folder.mkdir()
    values = {"proxy_state__url": "redis://:password@redis:6379/0"}
    for name in names:
        (folder / name).write_text(values.get(name, f"a-long-{name}") + "\n")

    loaded = load(environ={"PROXY_SECRETS_DIR": str(folder)}, cwd=tmp_path)

    assert loaded.sources.stray() == []
    assert "default" in loaded.settings.clients, "it listens beyond loopback"
    assert [key.key.get_secret_value() for key in loaded.provider("openai").api_keys] == ["a-long-openai_api_key"]
    return loaded


# --- The image ---------------------------------------------------------------------------


def dependencies(project):
    optional = project.get("optional-dependencies", {}).values()
    return [*project["dependencies"], *(one for extra in optional for one in extra)]


def test_the_image_has_packages_and_extras_of_this_repository():
    arguments = dict(re.findall(r'^ARG (\w+)="(.*?)"', DOCKERFILE, re.M))
    files = [tomllib.loads((path / "pyproject.toml").read_text()) for path in (ROOT / "core", *ROOT.glob("plugins/*"))]
    projects = {file["project"]["name"]: file["project"] for file in files}

    needed = {re.match(r"[\w-]+", one)[0] for project in projects.values() for one in dependencies(project)}

    assert set(arguments["PLUGINS"].split()) <= projects.keys()
    assert needed & projects.keys() <= set(arguments["SHARED"].split()), "else they would come from PyPI"
    assert set(arguments["EXTRAS"].split(",")) <= projects["proxy-core"]["optional-dependencies"].keys()


async def test_the_images_variables_are_settings_and_nothing_is_written_but_data(tmp_path):
    data, elsewhere, secrets = tmp_path / "data", tmp_path / "elsewhere", tmp_path / "secrets"
    for folder in (data, elsewhere, secrets):
        folder.mkdir(mode=0o700)
    (secrets / "proxy_api_key").write_text("a-long-client-key\n")
    (secrets / "openai_api_key").write_text("an-openai-key\n")
    places = {"/data": str(data), "/run/secrets": str(secrets), "0.0.0.0": "127.0.0.1"}
    variables = {key: places.get(value, value) for key, value in image_variables().items()}
    before = sorted(tmp_path.rglob("*"))

    async with serving(elsewhere, **variables, TMPDIR=str(elsewhere)) as program, httpx.AsyncClient() as http:
        answer = await http.get(f"{program.url}/v1/models", headers={"authorization": "Bearer a-long-client-key"})
        checked = await healthy(program.url)
    written = [path for path in sorted(tmp_path.rglob("*")) if path not in before and not path.is_relative_to(data)]

    assert answer.status_code == 200
    assert checked == 0
    assert "openai" in program.output
    assert written == []


async def healthy(url):
    """The exit code of the image's health check."""
    (command,) = re.findall(r"^\s*HEALTHCHECK .*CMD (\[.*\])$", DOCKERFILE, re.M)
    program, *arguments = yaml.safe_load(command)
    assert program == "python"
    words = [word.replace("http://127.0.0.1:8000", url) for word in arguments]
    process = await asyncio.create_subprocess_exec(sys.executable, *words, stderr=asyncio.subprocess.DEVNULL)
    return await process.wait()


async def test_the_health_check_fails_where_nothing_serves():
    assert await healthy("http://127.0.0.1:9") == 1


# --- Compose -----------------------------------------------------------------------------


def test_the_compose_files_have_the_secrets_that_they_use_and_time_to_stop(tmp_path):
    (one,), (redis,) = documents("compose.yaml"), documents("compose.redis.yaml")
    service, more = one["services"]["proxy-core"], redis["services"]["proxy-core"]
    declared = one["secrets"] | redis["secrets"]

    assert {*service["secrets"], *more["secrets"], *redis["services"]["redis"]["secrets"]} == declared.keys()
    assert float(service["stop_grace_period"].removesuffix("s")) > STOP_S
    assert (DEPLOY / service["build"]["context"]).resolve() == ROOT
    assert (ROOT / service["build"]["dockerfile"]).is_file()
    loaded = check_secrets([*service["secrets"], *more["secrets"]], tmp_path)
    assert loaded.settings.state.url is not None
    assert loaded.settings.state.secret is not None


# --- Kubernetes --------------------------------------------------------------------------


def pod():
    return next(one for one in documents("kubernetes.yaml") if one["kind"] == "Deployment")["spec"]["template"]


def test_the_kubernetes_example_fits_together(tmp_path):
    found = {document["kind"]: document for document in documents("kubernetes.yaml")}
    pods = pod()
    (container,) = pods["spec"]["containers"]
    variables = {one["name"]: one["value"] for one in container["env"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    secrets = re.findall(r"--from-file=(\w+)", (DEPLOY / "kubernetes.yaml").read_text())

    for kind in ("Service", "PodDisruptionBudget"):
        selector = found[kind]["spec"]["selector"]
        assert selector.get("matchLabels", selector) == pods["metadata"]["labels"]
    assert mounts["secrets"] == image_variables()["PROXY_SECRETS_DIR"]
    assert mounts["data"] == image_variables()["PROXY_DATA_DIR"]
    assert mounts.keys() == {volume["name"] for volume in pods["spec"]["volumes"]}
    assert Path(variables["PROXY_CONFIG"]).parent == Path(mounts["settings"])
    (tmp_path / "proxy-core.toml").write_text(found["ConfigMap"]["data"][Path(variables["PROXY_CONFIG"]).name])
    load(tmp_path / "proxy-core.toml", environ={}, cwd=tmp_path)
    assert pods["spec"]["terminationGracePeriodSeconds"] > STOP_S + 5
    check_secrets(secrets, tmp_path)


@pytest.mark.parametrize("probe", ["startupProbe", "readinessProbe", "livenessProbe"])
async def test_kubernetes_asks_what_the_proxy_answers_without_a_key(proxy, probe):
    (container,) = pod()["spec"]["containers"]

    async with httpx.AsyncClient() as http:
        answer = await http.get(proxy.url.removesuffix("/v1") + container[probe]["httpGet"]["path"])

    assert answer.status_code == 200


# --- Services ----------------------------------------------------------------------------


def test_the_unit_gives_settings_and_time_to_stop(tmp_path):
    pairs = unit()
    variables = dict(word.split("=", 1) for key, value in pairs if key == "Environment" for word in value.split())
    credentials = [value.partition(":")[0] for key, value in pairs if key == "LoadCredential"]

    assert variables.keys() == {"PROXY_CONFIG", "PROXY_DATA_DIR", "PROXY_SECRETS_DIR"}
    assert float(dict(pairs)["TimeoutStopSec"]) > STOP_S
    check_secrets(credentials, tmp_path)


async def test_what_the_unit_runs_are_commands(tmp_path):
    for key, value in unit():
        if key in ("ExecStart", "ExecReload"):
            code, said = await run(tmp_path, *value.split()[1:], "--help")
            assert code == 0, said


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd")
def test_systemd_understands_the_units(tmp_path):
    for name in ("proxy-core.service", "proxy-core.socket"):
        (tmp_path / name).write_text((DEPLOY / name).read_text().replace("/opt/proxy-core/bin/proxy-core", "/bin/true"))

    said = subprocess.run(
        ["systemd-analyze", "verify", *(str(path) for path in sorted(tmp_path.iterdir()))],
        capture_output=True,
        text=True,
    )

    assert [line for line in said.stderr.splitlines() if str(tmp_path) in line or line.startswith("proxy-core")] == []


def test_the_property_list_starts_the_proxy_and_gives_it_time_to_stop():
    found = plistlib.loads((DEPLOY / "org.proxy-core.plist").read_bytes())

    assert found["ProgramArguments"][1:] == ["serve"]
    assert found["ExitTimeOut"] > STOP_S
    assert found["EnvironmentVariables"].keys() == {"PROXY_SECRETS_DIR"}


def test_a_system_on_which_the_proxy_cannot_serve_is_told_what_to_do():
    check_platform("posix")
    with pytest.raises(SettingsError, match="WSL 2 or in a container"):
        check_platform("nt")


def test_the_page_names_tests_that_are_there_and_need_no_server():
    """They are to pass on any platform: what they import of the standard library exists everywhere."""
    (command,) = re.findall(r"^    uv run pytest (core/tests/.*)$", (ROOT / "docs/deploying.md").read_text(), re.M)
    texts = [(ROOT / name).read_text() for name in command.split()]

    assert [
        word for word in ("serving(", "run(", "fork", "signal", "AF_UNIX", "chmod") for t in texts if word in t
    ] == []

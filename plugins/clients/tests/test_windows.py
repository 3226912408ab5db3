"""What is shown on Windows: the functions that say it are pure, so they run anywhere."""

from pathlib import Path, PureWindowsPath

from pydantic import SecretStr

from proxy_plugin_clients.endpoint import Endpoint, Key, file_command, variable_command
from proxy_plugin_clients.setup import PROGRAMS, shown

FILE = PureWindowsPath(r"C:\Users\O'Neil\client.key")
ENDPOINT = Endpoint(
    root="http://127.0.0.1:8000",
    key=Key(command=file_command(FILE, windows=True), value=SecretStr("canary")),
    models=["it's"],
    chosen=True,
    home=Path("home"),
    variables={},
    windows=True,
)


def lines(name):
    return "\n".join(shown(PROGRAMS[name], PROGRAMS[name].configure(ENDPOINT), ENDPOINT))


def test_a_command_is_one_line_for_its_shell():
    assert ENDPOINT.key.shell(windows=True) == "powershell -c \"Get-Content 'C:\\Users\\O''Neil\\client.key'\""
    assert variable_command("LLM_PROXY_KEY", windows=True) == ("powershell", "-c", "$env:LLM_PROXY_KEY")


def test_variables_are_in_powershells_words():
    assert lines("aider").splitlines()[3:6] == [
        "$env:OPENAI_API_BASE = 'http://127.0.0.1:8000/v1'",
        r"""$env:OPENAI_API_KEY = $(powershell -c "Get-Content 'C:\Users\O''Neil\client.key'")""",
        "$env:AIDER_MODEL = 'openai/it''s'",
    ]


def test_a_file_has_the_command_as_its_format_writes_it():
    assert r"""Get-Content 'C:\\Users\\O''Neil\\client.key'\"""" in lines("claude")
    assert r"""args = ["-c", "Get-Content 'C:\\Users\\O''Neil\\client.key'"]""" in lines("codex")

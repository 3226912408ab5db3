"""Plugins' settings from variables that their vendors named."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import pytest
from pydantic import Field

from proxy_core import PluginSettings, SettingsError
from proxy_core.settings.loading import load


class Named(PluginSettings):
    variables: ClassVar[Mapping[str, Sequence[str]]] = {
        "host": ["VENDOR_HOST", "VENDOR_OLD_HOST"],
        "tries": ["VENDOR_TRIES"],
    }

    host: str = Field("default", description="A host.")
    tries: int = Field(1, description="Tries.")


@pytest.fixture
def read(tmp_path):
    def read(text, environ):
        (tmp_path / "proxy-core.toml").write_text(text)
        environ = {"PROXY_DATA_DIR": str(tmp_path / "data"), **environ}
        return load(environ=environ, cwd=tmp_path).plugin("named", Named)

    return read


@pytest.mark.parametrize(
    ("text", "environ", "host"),
    [
        ("", {}, "default"),
        ("[plugins.named]\nhost = 'file'", {}, "file"),
        ("[plugins.named]\nhost = 'file'", {"VENDOR_OLD_HOST": "old"}, "old"),
        ("", {"VENDOR_OLD_HOST": "old", "VENDOR_HOST": "new"}, "new"),
        ("", {"VENDOR_HOST": "new", "PROXY_PLUGINS__NAMED__HOST": "nested"}, "nested"),
    ],
)
def test_which_wins(read, text, environ, host):
    assert read(text, environ).host == host


def test_the_command_line_wins(tmp_path):
    (tmp_path / "proxy-core.toml").write_text("[plugins.named]\nhost = 'file'\ntries = 3")
    environ = {"VENDOR_HOST": "vendor", "PROXY_PLUGINS__NAMED__HOST": "nested"}
    loaded = load(environ=environ, cwd=tmp_path, overrides={"plugins": {"named": {"host": "command line"}}})

    assert loaded.plugin("named", Named) == Named(host="command line", tries=3)


def test_a_mistake_names_the_variable(read):
    with pytest.raises(SettingsError, match="environment variable VENDOR_TRIES"):
        read("", {"VENDOR_TRIES": "many"})

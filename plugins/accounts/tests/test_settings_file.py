"""Lines that are added to a settings file, and files to which none can be added."""

import tomllib

import pytest

from proxy_plugin_accounts.settings_file import with_tables

NEW = {("providers", "my home"): {"base_url": 'http://h/"v1"'}, ("models",): {"fast": ["my home/ä"]}}
ADDED = {"providers": {"my home": {"base_url": 'http://h/"v1"'}}, "models": {"fast": ["my home/ä"]}}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\ufeff",
        "port = 1",
        "# only a comment",
        "[models]",
        "[ models ]  # names\nbig = 'a'\n[server]\nport = 1\n",
        "[models]\r\nbig = 'a'\r\n",
        "[models]\nbig = 'a'\n\n[providers.other]\nbase_url = 'b'\n",
        "[[list]]\na = '''\n[models]\n'''\n",
        "[providers.'my home'.rotation]\ntolerance = 1\n",
    ],
)
def test_everything_that_was_there_stays(text):
    after = with_tables(text, NEW)
    old, found = tomllib.loads(text.removeprefix("\ufeff")), tomllib.loads(after.removeprefix("\ufeff"))

    assert with_tables(after, NEW) == after
    assert found["models"]["fast"] == ["my home/ä"] and found["providers"]["my home"]["base_url"] == 'http://h/"v1"'
    assert {key: value for key, value in found.items() if key not in ADDED} == {
        key: value for key, value in old.items() if key not in ADDED
    }
    assert found["models"] == old.get("models", {}) | ADDED["models"]
    assert all(line in after for line in text.splitlines())
    assert "\r\n" not in text or "\n" not in after.replace("\r\n", "")


def test_what_is_there_is_not_replaced():
    text = "[models]\nfast = ['other/x']\n"

    assert with_tables(text, {("models",): {"fast": ["home/x"]}}) == text


@pytest.mark.parametrize("text", ["models = {}", "models = 3", "providers = 'x'", "models.big = 'a'", "[models\n"])
def test_files_that_cannot_take_lines_are_refused(text):
    with pytest.raises(ValueError):
        with_tables(text, NEW)

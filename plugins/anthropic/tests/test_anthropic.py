"""The plugin and its settings."""

from proxy_plugin_anthropic import PLUGIN


def test_the_plugin_has_the_name_of_its_package():
    assert (PLUGIN.name, PLUGIN.api) == ("anthropic", 1)

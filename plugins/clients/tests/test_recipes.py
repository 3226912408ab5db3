"""The page of this package shows what the command shows."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from proxy_plugin_clients.endpoint import Endpoint, Key
from proxy_plugin_clients.libraries import LIBRARIES

PAGE = (Path(__file__).parents[1] / "README.md").read_text()


@pytest.mark.parametrize("program", [p for p in LIBRARIES if p.name != "editor"], ids=lambda p: p.name)
def test_the_recipe_on_the_page_is_what_setup_shows(program):
    file = "~/.local/share/proxy-core/client.key"
    endpoint = Endpoint(
        root="http://127.0.0.1:8000",
        key=Key(command=["cat", "KEY"], value=SecretStr("k")),
        models=["fast"],
        home=Path(),
        variables={},
    )

    assert program.configure(endpoint).code.replace("KEY)", f"{file})") in PAGE

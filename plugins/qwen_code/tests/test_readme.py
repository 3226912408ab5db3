"""The README describes each setting like the model, and each host like the table."""

import json
import re
from importlib.metadata import version
from pathlib import Path

from proxy_plugin_qwen_code.hosts import BASES
from proxy_plugin_qwen_code.settings import QwenCodeSettings

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_settings():
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", README.partition("## Settings")[2], re.MULTILINE))

    assert rows == {
        name: f"{'unset' if f.default is None else f'`{json.dumps(f.default, default=str)}`'} | {f.description}"
        for name, f in QwenCodeSettings.model_fields.items()
    }


def test_hosts():
    for bases in BASES.values():
        assert all(base.split("/")[2] in README for base in bases.values())


def test_the_package_has_a_version():
    assert version("proxy-plugin-qwen-code") == "0.1.0"

"""``proxy-core plugins check``: what is wrong with one plugin, where, and what it would change."""

import json
import sys

import pytest
from click.testing import CliRunner

from proxy_plugin_doctor.plugins import command

HEAD = "import proxy_core\nPLUGIN = proxy_core.PluginInfo(name='tried', api=1)\n"
SANITIZER = HEAD + (
    "def quiet(request):\n"
    "    return {change}\n"
    "@proxy_core.hookimpl\n"
    "def proxy_sanitizers(ctx):\n"
    "    return [proxy_core.Sanitizer(name='quiet', request=quiet)]\n"
)
COPIES = "request.with_body({**request.body, 'user': None, 'metadata': {}})"
PROVIDER = HEAD + (
    "def encode(call, credential):\n"
    "    return proxy_core.UpstreamRequest(url='http://127.0.0.1:1/v1/chat/completions', content={content},\n"
    "        headers=[('authorization', 'Bearer ' + credential.secret.get_secret_value())])\n"
    "@proxy_core.hookimpl\n"
    "def proxy_providers(ctx):\n"
    "    return [proxy_core.Provider(name='mine', dialects=['openai_chat'], encode=encode)]\n"
)


@pytest.fixture
def check(tmp_path, monkeypatch):
    """Install a plugin named ``tried`` with this text, and check it."""
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setenv("PROXY_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)

    def check(text, *arguments):
        info = tmp_path / "site" / "tried-1.dist-info"
        info.mkdir(parents=True)
        (tmp_path / "site" / "tried_plugin.py").write_text(text)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tried\nVersion: 1\n")
        (info / "entry_points.txt").write_text("[proxy_core.plugins]\ntried = tried_plugin\n")
        monkeypatch.delitem(sys.modules, "tried_plugin", raising=False)
        done = CliRunner().invoke(command, ["check", "tried", *arguments])
        return done.exit_code, done.output

    return check


def test_a_good_sanitizer_passes_and_what_it_changes_is_named_without_values(check):
    code, output = check(SANITIZER.format(change=COPIES))

    assert code == 0
    assert "tried from tried 1: active, loaded in" in output
    assert "sanitizers: quiet" in output
    assert "sanitizer quiet changes in the request: user, metadata.ticket (" in output
    assert "1 passed, 0 failed, 4 not applicable" in output
    assert "4711" not in output


def test_a_sanitizer_that_raises_fails_a_case_with_the_line_and_the_reason_why_it_matters(check):
    code, output = check(SANITIZER.format(change="request.body['user']['name']"))

    assert code == 1
    assert "any request, unchanged in place  failed" in output
    assert 'tried_plugin.py", line 4, in quiet' in output
    assert "What it raises but a ProxyError is a 500" in output
    assert "sanitizer quiet refuses the request: TypeError" in output


def test_a_plugin_that_cannot_be_imported_is_shown_with_its_own_line(check):
    code, output = check(HEAD + "1 / 0\n")

    assert code == 1
    assert "tried from tried 1: skipped" in output
    assert 'tried_plugin.py", line 3, in <module>' in output
    assert "problem: import failed: ZeroDivisionError: division by zero" in output
    assert "loader.py" not in output


def test_a_provider_is_tried_with_every_fault(check):
    good, listed = check(PROVIDER.format(content="proxy_core.json_bytes(call.body)"), "--json")
    found = json.loads(listed)

    assert good == 0, listed
    assert sum(result["result"] == "passed" for result in found["results"]) > 20
    assert found["changes"][0].startswith("provider mine sends to http://127.0.0.1:1/v1/chat/completions (")
    assert found["plugin"]["provides"] == {"proxy_providers": ["mine"]}


def test_a_request_of_ones_own_can_be_tried(check, tmp_path):
    (tmp_path / "mine.json").write_text('{"model": "a/b", "messages": []}')

    _, output = check(SANITIZER.format(change=COPIES), "--request", "mine.json")

    assert "sanitizer quiet changes in the request: metadata (" in output


def test_an_unknown_name_is_corrected(check):
    code, output = check(SANITIZER.format(change=COPIES))
    done = CliRunner().invoke(command, ["check", "tired"])

    assert code == 0, output
    assert done.exit_code == 2
    assert "did you mean 'tried'?" in done.output

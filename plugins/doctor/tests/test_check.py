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
SWALLOWS = HEAD + (
    "class Silent:\n"
    "    def feed(self, event):\n"
    "        return [] if isinstance(event, proxy_core.TextDelta) else [event]\n"
    "    def close(self):\n"
    "        return []\n"
    "@proxy_core.hookimpl\n"
    "def proxy_sanitizers(ctx):\n"
    "    return [proxy_core.Sanitizer(name='silent', events=lambda request: Silent())]\n"
)
#: One JSON value a line, in a format of its own.
LINES = HEAD + (
    "class Decoder:\n"
    "    ended = False\n"
    "    def __init__(self, call, response):\n"
    "        self.lines = proxy_core.ndjson.LineReader()\n"
    "    def feed(self, data):\n"
    "        return [event for line in self.lines.feed(data) for event in self.read(line)]\n"
    "    def read(self, line):\n"
    "        self.ended = 'end' in line\n"
    "        yield from {event}\n"
    "    def close(self):\n"
    "        if not self.ended:\n"
    "            raise proxy_core.StreamCut('no end')\n"
    "        return []\n"
    "def encode(call, credential):\n"
    "    content = proxy_core.json_bytes({{'ask': call.chat.messages[-1].parts[0].text}})\n"
    "    headers = [('x-perch', credential.secret.get_secret_value())]\n"
    "    url = 'http://127.0.0.1:1/say'\n"
    "    return proxy_core.UpstreamRequest(url=url, headers=headers, content=content, dropped=[*call.chat.extra])\n"
    "@proxy_core.hookimpl\n"
    "def proxy_providers(ctx):\n"
    "    return [proxy_core.Provider(name='mine', encode=encode, decoder=Decoder)]\n"
)
SAY = "[proxy_core.TextDelta(text=line['say'])]"
END = "[proxy_core.Finish(reason='stop'), proxy_core.UsageReport(usage=proxy_core.Usage(prompt=1, completion=2))]"
EVENT = f"{END} if self.ended else {SAY}"
SAID = '{"say": "hél"}\n{"say": "lo"}\n{"end": 1}\n'
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
    assert "1 passed, 0 failed, 6 not applicable" in output
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
    assert output.endswith("nothing was tried: it is not used\n")


def test_a_redactor_that_returns_nothing_is_told_so(check):
    code, output = check(
        HEAD + "@proxy_core.hookimpl\ndef proxy_redactors(ctx):\n"
        "    return [proxy_core.Redactor(name='mute', redact=lambda record: record.update(x=1))]\n"
    )

    assert code == 1
    assert "redactor mute returns None instead of a record (" in output


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


@pytest.mark.slow
def test_one_mistake_is_one_line_with_the_cases_that_it_fails(check):
    code, output = check(PROVIDER.format(content="call.body['no such field']"))

    assert code == 1
    [row] = [line for line in output.splitlines() if "  failed  " in line]
    assert row.startswith("provider mine  a request goes only where settings say, and ")
    assert row.endswith("KeyError: 'no such field'")
    assert output.count("tried_plugin.py") == 1
    assert "for the same reason: the request is left alone, " in output


@pytest.mark.slow
def test_what_a_function_returned_instead_is_one_line_too(check):
    code, output = check(PROVIDER.format(content="b''").replace("def encode", "async def encode"))

    rows = [line for line in output.splitlines() if "  failed  " in line]
    assert code == 1
    assert len(rows) == 2
    assert "encode returned a coroutine: it must be a plain function, not async" in rows[0]
    assert (
        "the encoder 'mine' of plugin 'tested' returned a coroutine: it must be a plain function, not async" in rows[1]
    )


def test_a_filter_that_swallows_text_fails(check):
    code, output = check(SWALLOWS)

    assert code == 1
    assert "text is not swallowed" in output
    assert "sanitizer silent changes in the response: its text, of which nothing is left (" in output


@pytest.mark.slow
def test_a_format_without_a_sample_has_not_passed(check, tmp_path):
    (tmp_path / "said").write_text(SAID)

    untried, told = check(LINES.format(event=EVENT))
    done = CliRunner().invoke(command, ["check", "tried", "--stream-sample", "said"])

    assert untried == 1
    assert "provider mine: its responses were not tried; give a recorded one: --stream-sample FILE" in told
    assert "everything, in a format of its own: ask; headers: x-perch (" in told
    assert "not tried" not in done.output
    assert done.exit_code == 0, done.output


@pytest.mark.slow
def test_a_decoder_is_tried_with_the_sample(check, tmp_path):
    (tmp_path / "said").write_text(SAID)

    code, output = check(LINES.format(event=SAY.replace("'say'", "'sey'")), "--stream-sample", "said")

    assert code == 1
    assert "KeyError: 'sey'" in output


def test_a_call_over_budget_is_named(check, tmp_path):
    (tmp_path / "proxy-core.toml").write_text("[plugins]\nbudget_s = 1e-9\n")

    code, output = check(SANITIZER.format(change=COPIES))

    assert code == 1
    assert "metadata.ticket (" in output
    assert "ms, over the budget of 1e-09 s)" in output
    assert "1 over budget ([plugins] budget_s): the proxy would stop calling it" in output


@pytest.mark.slow
def test_a_provider_that_speaks_a_plugins_dialect_needs_no_sample(tmp_path, monkeypatch):
    pytest.importorskip("proxy_plugin_anthropic")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PROXY_DATA_DIR", str(tmp_path / "data"))
    done = CliRunner().invoke(command, ["check", "anthropic"])

    assert done.exit_code == 0, done.output
    assert "not tried" not in done.output


def test_an_unknown_name_is_corrected(check):
    code, output = check(SANITIZER.format(change=COPIES))
    done = CliRunner().invoke(command, ["check", "tired"])

    assert code == 0, output
    assert done.exit_code == 2
    assert "did you mean 'tried'?" in done.output

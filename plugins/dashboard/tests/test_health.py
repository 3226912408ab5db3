"""Health: the state of every worker, and what doctor finds."""

import html

import httpx
import pytest

from proxy_core.cli.api import load
from proxy_core.testing.program import serving
from proxy_plugin_doctor import findings_of


async def test_a_proxy_that_works_says_so_and_shows_its_workers_and_store(browsing):
    _, browser = await browsing()
    text = await browser.page("health")

    assert "Everything works" in text
    assert "memory, shared by 1 process" in text
    assert "records 0, log lines 0" in text.replace("\n", "")


async def test_what_does_not_work_is_named(browsing):
    _, browser = await browsing(providers={})
    text = await browser.page("health")

    assert "Nothing can be served" in text
    assert "no provider has a credential" in text


async def test_doctors_findings_are_a_fragment_and_a_page_of_their_own(browsing):
    _, browser = await browsing(providers={}, server={"workers": 2})
    assert 'hx-get="/admin/ui/health/checks"' in await browser.page("health")
    page = html.unescape(await browser.page("health/checks"))
    fragment = await browser.get("/admin/ui/health/checks", **{"hx-request": "true"})

    assert "no provider has a key or login that works" in page
    assert "proxy-core init sets one up" in page
    assert "2 workers with state.url = memory" in page
    assert "<html" in page
    assert "<html" not in fragment.text
    assert "problem" in fragment.text


def test_settings_that_cannot_be_read_are_found_with_the_words_of_a_start(tmp_path):
    (tmp_path / "proxy-core.toml").write_text("[server]\nport = 'many'\n")

    [finding] = findings_of(lambda: load(environ={"PROXY_DATA_DIR": str(tmp_path)}, cwd=tmp_path))

    assert not finding.note
    assert "server.port" in finding.what
    assert "does not start" in finding.do


@pytest.mark.slow
async def test_a_settings_file_that_was_broken_since_the_start_is_found(tmp_path):
    file, admin = tmp_path / "proxy-core.toml", "the-admin-key-of-this"
    file.write_text('[providers.demo]\nbase_url = "http://127.0.0.1:9/v1"\napi_keys = ["a-key"]\n')
    variables = {"PROXY_ADMIN__KEY": admin, "PROXY_CONFIG": str(file)}
    async with serving(tmp_path, **variables) as program, httpx.AsyncClient(timeout=30) as client:
        headers = {"authorization": f"Bearer {admin}", "origin": program.url}
        assert (await client.post(f"{program.url}/admin/ui/session", headers=headers)).status_code == 204
        for text in ("[server\n", "[routing]\nmax_wait_s = 'x'\n"):
            file.write_text(text)
            page = await client.get(f"{program.url}/admin/ui/health/checks")
            assert page.status_code == 200
            assert "finds no problems" not in page.text
            assert "1 problem to fix" in page.text
            assert "does not start" in page.text

"""Signing in, and everything that is refused: over a socket, as a browser or an attacker would."""

import hashlib
import hmac
import re
import time
from urllib.parse import parse_qs, urlsplit

import pytest

from proxy_plugin_dashboard import session as sessions
from proxy_plugin_dashboard.static_files import static_files
from proxy_plugin_dashboard.testing import ADMIN_KEY

FOREIGN = "https://elsewhere.example"


def sign(text):
    return hmac.digest(b"a key", text, hashlib.sha256)


def session(now=1000, **more):
    return sessions.Session(**{"id": "abc", "began": now, "expires": now + 3600, "secure": False, **more})


def cookie(of, sign=sign, now=1000):
    return sessions.set_cookie("c", of, sign, now).partition(";")[0]


# --- Pure --------------------------------------------------------------------------------


def test_a_cookie_is_read_as_it_was_written_until_it_expires():
    assert sessions.session_of(f"a=b; {cookie(session())}; c=d", "c", sign, 1000) == session()
    assert sessions.session_of(cookie(session()), "c", sign, 4599.9) == session()
    assert sessions.session_of(cookie(session()), "c", sign, 4600) is None


def test_a_cookie_that_was_changed_or_signed_with_another_key_is_none():
    good = cookie(session())
    for bad in (
        good[:-1] + ("0" if good[-1] != "0" else "1"),
        good.replace("4600", "9999"),
        good.replace("abc", "abd"),
        cookie(session(), lambda text: hmac.digest(b"another", text, hashlib.sha256)),
        "c=",
        "c=.",
        "c=a.b.c.d.e.f",
        "c=\u00e9",
        good.replace("c=", "d="),
    ):
        assert sessions.session_of(bad, "c", sign, 1000) is None, bad


def test_a_csrf_token_is_of_one_session_and_no_cookies_signature():
    token = sessions.csrf_token(session(), sign)

    assert sessions.is_csrf_token(token, session(expires=1), sign)
    assert not sessions.is_csrf_token(token, session(id="other"), sign)
    assert not sessions.is_csrf_token("", session(), sign)
    assert not sessions.is_csrf_token("\u00e9", session(), sign)
    assert token not in cookie(session())


def test_a_session_in_use_is_renewed_for_twelve_hours_at_most():
    assert sessions.renewed(session(), 1001) is None
    assert sessions.renewed(session(), 2000).expires == 5600
    late = session(began=1000, expires=1000 + 12 * 3600 - 600)
    assert sessions.renewed(late, late.expires - 10).expires == 1000 + 12 * 3600
    assert sessions.renewed(session(expires=1000 + 12 * 3600), 1000 + 12 * 3600 - 10) is None


def test_each_port_has_a_cookie_of_its_own():
    assert sessions.cookie_name("localhost:8000") == "proxy_core_8000"
    assert sessions.cookie_name("[::1]:9000") == "proxy_core_9000"
    assert sessions.cookie_name("proxy.lan") == sessions.cookie_name("[::1]") == "proxy_core"


# --- Signing in and out ------------------------------------------------------------------


async def test_the_admin_key_is_exchanged_for_a_cookie_that_scripts_and_other_sites_cannot_use(browsing):
    _, browser = await browsing(signed_in=False)
    response = await browser.sign_in()
    _, *attributes = response.headers["set-cookie"].split("; ")

    assert response.status_code == 204
    assert set(attributes) == {"Max-Age=3600", "Path=/admin/ui", "HttpOnly", "SameSite=Strict"}
    assert ADMIN_KEY not in str(response.headers)
    assert (await browser.get("/admin/ui/accounts")).status_code == 200


async def test_by_tls_the_cookie_is_secure_and_stays_so(browsing, monkeypatch):
    _, browser = await browsing(signed_in=False)
    origin = browser.root.replace("http:", "https:")
    first = (await browser.sign_in(origin=origin)).headers["set-cookie"]
    assert first.endswith("; Secure")

    later = time.time() + 1200
    monkeypatch.setattr("proxy_plugin_dashboard.routes.time.time", lambda: later)
    page = await browser.get("/admin/ui/accounts", cookie=first.partition(";")[0])
    assert page.status_code == 200
    assert page.headers["set-cookie"].endswith("; Secure")


async def test_a_wrong_key_gets_no_session_and_is_told_so(browsing):
    _, browser = await browsing(signed_in=False)
    for key in ("wrong", "-", "test-key"):
        response = await browser.sign_in(key)
        assert (response.status_code, response.text) == (401, "This is not the admin key.")
        assert "set-cookie" not in response.headers
    assert (await browser.get("/admin/ui/session")).status_code == 405


async def test_a_clients_key_does_not_open_the_dashboard(browsing):
    proxy, browser = await browsing(signed_in=False)

    assert (await browser.sign_in(proxy.key)).status_code == 401


@pytest.mark.parametrize("path", ["", "/", "/accounts", "/health", "/nothing", "/accounts/anything"])
async def test_without_a_session_every_page_leads_to_the_login(browsing, path):
    _, browser = await browsing(signed_in=False)
    response = await browser.get(f"/admin/ui{path}")

    assert response.status_code == 303
    assert response.headers["location"].startswith("/admin/ui/login?next=/admin/ui")
    assert "demo" not in response.text


async def test_the_login_leads_back_to_the_page_with_its_search(browsing):
    _, browser = await browsing(signed_in=False)
    response = await browser.get("/admin/ui/requests?q=a%26b+c&outcome=failed&key=secret")
    wanted = parse_qs(urlsplit(response.headers["location"]).query)["next"][0]

    assert wanted == "/admin/ui/requests?q=a%26b+c&outcome=failed"
    accepted = re.search(r"location\.replace\(/(.+)/\.test\(next\)", static_files()["app.js"].content.decode())[1]
    accepted = accepted.replace("\\/", "/")
    assert re.search(accepted, wanted)
    for bad in ("//x.example", "https://x.example", "/admin/ui/x?y=//z", "/admin/uix", "/admin/ui/\\x", "javascript:x"):
        assert not re.search(accepted, bad), bad


async def test_without_a_session_feeds_fragments_and_actions_are_refused(browsing):
    _, browser = await browsing(signed_in=False)
    action = await browser.post("/admin/ui/accounts/clear")

    assert (await browser.get("/admin/ui/live/accounts")).status_code == 401
    assert (await browser.get("/admin/ui/accounts", **{"hx-request": "true"})).status_code == 401
    assert (action.status_code, action.headers["hx-redirect"][:15]) == (401, "/admin/ui/login")


async def test_even_the_admin_key_itself_is_no_session(browsing):
    _, browser = await browsing(signed_in=False)
    response = await browser.get("/admin/ui/accounts", authorization=f"Bearer {ADMIN_KEY}")

    assert response.status_code == 303


async def test_signing_out_deletes_the_cookie(browsing):
    _, browser = await browsing()
    await browser.page("accounts")
    response = await browser.post("/admin/ui/logout")

    assert response.headers["hx-redirect"] == "/admin/ui/login"
    assert "Max-Age=0" in response.headers["set-cookie"]
    assert (await browser.get("/admin/ui/accounts")).status_code == 303


async def test_a_session_of_another_admin_key_is_none(browsing):
    _, first = await browsing()
    _, other = await browsing(signed_in=False, admin={"key": "another-admin-key"})
    value = next(iter(first.client.cookies.jar)).value
    for browser, status in ((first, 200), (other, 303)):
        port = browser.root.rpartition(":")[2]
        response = await browser.get("/admin/ui/accounts", cookie=f"proxy_core_{port}={value}")
        assert response.status_code == status


# --- Without scripts ---------------------------------------------------------------------


@pytest.mark.parametrize("signed_in", [False, True])
@pytest.mark.parametrize("path", ["session", "accounts/add-key", "logout", "models/try"])
async def test_a_form_that_a_browser_sends_by_itself_changes_nothing_and_says_why(browsing, path, signed_in):
    proxy, browser = await browsing(signed_in=signed_in)
    form = {"key": ADMIN_KEY, "provider": "demo"}
    headers = {"origin": "null", "sec-fetch-site": "same-origin"}  # so they do with our referrer policy
    response = await browser.client.post(f"{browser.root}/admin/ui/{path}", data=form, headers=headers)

    assert response.status_code == 403
    assert "This needs scripts" in response.text
    assert "<html" in response.text
    assert "set-cookie" not in response.headers
    assert ADMIN_KEY not in response.text + str(response.headers)
    assert len(proxy.proxy.pools["demo"]) == 2


async def test_a_key_in_the_address_opens_no_session(browsing):
    _, browser = await browsing(signed_in=False)
    for name in ("key", "api_key", "access_token"):
        url = f"{browser.root}/admin/ui/session?{name}={ADMIN_KEY}"
        response = await browser.client.post(url, headers={"origin": browser.root})
        assert response.status_code == 401
        assert "set-cookie" not in response.headers


# --- Other sites -------------------------------------------------------------------------


async def test_an_action_without_the_token_of_this_session_changes_nothing(browsing):
    _, browser = await browsing()
    await browser.page("accounts")
    own = browser.csrf
    await browser.sign_in()
    for token in ("", "wrong", own):  # the last one is of the earlier session
        browser.csrf = token
        response = await browser.post("/admin/ui/logout")
        assert response.status_code == 403
        assert "Nothing was changed" in response.text
    assert (await browser.get("/admin/ui/accounts")).status_code == 200


async def test_an_action_from_a_page_of_another_site_is_refused_even_with_the_token(browsing):
    _, browser = await browsing()
    await browser.page("accounts")
    for headers in (
        {"origin": FOREIGN},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ):
        assert (await browser.post("/admin/ui/logout", **headers)).status_code == 403


@pytest.mark.parametrize(
    "host", ["elsewhere.example", "127.0.0.1.elsewhere.example", "localhost.elsewhere.example", "a b", ""]
)
async def test_a_host_that_is_not_ours_is_refused_before_anything_else(browsing, host):
    _, browser = await browsing()
    for path in ("/admin/ui/accounts", "/admin/ui/live/accounts", "/admin/ui/static/app.js", "/admin/ui/login"):
        response = await browser.get(path, host=host)
        assert response.status_code in (400, 421)  # 400: the server itself refuses it
        assert "demo" not in response.text
    assert (await browser.sign_in(host=host)).status_code in (400, 421)


async def test_addresses_localhost_and_the_names_of_the_settings_are_ours(browsing):
    _, browser = await browsing(plugins={"dashboard": {"allowed_hosts": ["Proxy.LAN"]}})
    for host in (
        "127.0.0.1",
        "[::1]:8000",
        "localhost:1",
        "dev.localhost",
        "192.168.0.7:80",
        "proxy.lan:8000",
        "PROXY.LAN",
    ):
        assert (await browser.get("/admin/ui/login", host=host)).status_code == 200, host


# --- Every response ----------------------------------------------------------------------


async def test_every_response_forbids_inline_code_frames_sniffing_and_keeping(browsing):
    _, browser = await browsing()
    paths = ["accounts", "health", "nothing", "login", "static/app.js", "static/nothing", "accounts/nothing", ""]
    for path in paths:
        response = await browser.get(f"/admin/ui/{path}")
        policy = dict(part.split(" ", 1) for part in response.headers["content-security-policy"].split("; "))
        assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert response.headers["x-frame-options"] == "DENY"
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["referrer-policy"] == "no-referrer"
        if not path.startswith("static/"):
            assert response.headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in response.headers


async def test_other_methods_and_large_bodies_are_refused(browsing):
    _, browser = await browsing()
    await browser.page("accounts")
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS"):
        assert (await browser.client.request(method, browser.root + "/admin/ui/accounts")).status_code == 405
    large = await browser.post("/admin/ui/accounts/clear", {"provider": "x" * 2_000_000})
    assert large.status_code == 413


# --- Static files ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "../routes.py",
        "..%2froutes.py",
        "%2e%2e/routes.py",
        "%2e%2e%2f%2e%2e%2f%2e%2e%2fetc/passwd",
        "....//routes.py",
        "/etc/passwd",
        "vendor",
        "vendor/",
        "",
        "app.js/",
        "app.js%00.css",
    ],
)
async def test_no_path_leaves_the_table_of_static_files(browsing, path):
    _, browser = await browsing(signed_in=False)
    connection_path = f"/admin/ui/static/{path}"
    response = await browser.client.request("GET", browser.root, extensions={"target": connection_path.encode()})

    assert response.status_code in (303, 400, 404) or response.content == static_files()["app.js"].content
    assert "import " not in response.text
    assert "root:" not in response.text


async def test_a_file_of_this_version_is_kept_by_the_browser_and_all_together_are_light(browsing):
    _, browser = await browsing(signed_in=False)
    page = (await browser.get("/admin/ui/login")).text
    for name, file in static_files().items():
        response = await browser.get(f"/admin/ui/static/{name}?v={file.version}")
        assert (response.content, response.headers["content-type"]) == (file.content, file.content_type)
        assert "immutable" in response.headers["cache-control"]
        assert (await browser.get(f"/admin/ui/static/{name}?v=old")).headers["cache-control"] == "no-cache"
    assert f"style.css?v={static_files()['style.css'].version}" in page
    assert sum(len(file.content) for file in static_files().values()) < 200_000

"""Every documented way in for a login, each with every optional field missing in turn, in one proxy: imported, used,
expired, renewed, restarted, used again. The vendors are the plugins' fakes.
"""

import asyncio
import json
import time
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner

from proxy_core import SystemClock
from proxy_core.settings.rotation import DEFAULT_PRIORITY
from proxy_core.testing import run_proxy
from proxy_core.testing.credentials import Vault, described
from proxy_plugin_accounts.transfer import import_command
from proxy_plugin_gemini_cli.files import FILES
from proxy_plugin_gemini_cli.testing import PROJECT, FakeGoogle
from proxy_plugin_qwen_code.files import QWEN_FILE
from proxy_plugin_qwen_code.testing import FakeQwen

HOUR_S = 3600.0
PROVIDERS = ("gemini_cli", "qwen_code")
MODELS = {"gemini_cli": "gemini_cli/gemini-2.5-pro", "qwen_code": "qwen_code/coder-model"}


class AheadClock(SystemClock):
    """The real clock, some time ahead."""

    ahead_s = 0.0

    def monotonic(self):
        return super().monotonic() + self.ahead_s

    def now(self):
        return super().now() + timedelta(seconds=self.ahead_s)


# --- Forms -------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Form:
    """A form in which a login may be found. ``make`` returns its fields from the secrets and the account.

    ``optional``: fields that a real file may lack; a dot leads into an inner object. ``how``: the ways of import; ""
    is the command's own choice, which is to copy what must not be shared.
    """

    provider: str
    make: object
    optional: tuple[str, ...]
    how: tuple[str, ...] = ("",)


def cli(access, refresh, email, server):
    return {
        "access_token": access,
        "refresh_token": refresh,
        "scope": "openid https://www.googleapis.com/auth/cloud-platform",
        "token_type": "Bearer",
        "id_token": id_token(email),
        "expiry_date": in_ms(HOUR_S),
    }


def nested(access, refresh, email, server):
    token = {"accessToken": access, "refreshToken": refresh, "tokenType": "Bearer", "expiresAt": in_ms(HOUR_S)}
    scope = "https://www.googleapis.com/auth/cloud-platform"
    return {"serverName": "main-account", "token": {**token, "scope": scope}, "updatedAt": 1}


def another_proxys(access, refresh, email, server):
    about = {"email": email, "last_check_timestamp": 1.0, "project_id": PROJECT, "tier": "standard-tier"}
    client = {"client_id": "example-client", "client_secret": "example-secret", "token_uri": server.token_url}
    more = {"universe_domain": "googleapis.com", "_proxy_metadata": about}
    return {**cli(access, refresh, email, server), **client, **more}


def gcloud(access, refresh, email, server):
    server.owners[refresh] = "gcloud-client"
    server.clients["gcloud-client"] = "example-secret"
    return {
        "type": "authorized_user",
        "account": email,
        "client_id": "gcloud-client",
        "client_secret": "example-secret",
        "refresh_token": refresh,
        "quota_project_id": PROJECT,
        "universe_domain": "googleapis.com",
    }


def qwens(access, refresh, email, server):
    tokens = {"access_token": access, "refresh_token": refresh, "token_type": "Bearer"}
    return {**tokens, "expiry_date": in_ms(HOUR_S), "resource_url": server.base}


def qwens_in_another_proxy(access, refresh, email, server):
    return {**qwens(access, refresh, email, server), "_proxy_metadata": {"email": email, "last_check_timestamp": 1.0}}


def qwens_in_a_third_proxy(access, refresh, email, server):
    ends = datetime.fromtimestamp(time.time() + HOUR_S, UTC).isoformat()
    tokens = {"access_token": access, "refresh_token": refresh, "resource_url": server.base}
    return {"type": "qwen", **tokens, "email": email, "expired": ends, "last_refresh": ends}


CLI_FIELDS = ("access_token", "scope", "token_type", "id_token", "expiry_date")
FORMS = {
    "gemini cli": Form(provider="gemini_cli", make=cli, optional=CLI_FIELDS, how=("link", "copy")),
    "gemini cli, nested": Form(
        provider="gemini_cli",
        make=nested,
        optional=("token.accessToken", "token.tokenType", "token.scope", "token.expiresAt", "serverName", "updatedAt"),
    ),
    "mirrowel's": Form(
        provider="gemini_cli",
        make=another_proxys,
        optional=(
            *CLI_FIELDS,
            *("token_uri", "universe_domain", "_proxy_metadata.email", "_proxy_metadata.tier"),
            *("_proxy_metadata.project_id", "_proxy_metadata.last_check_timestamp"),
        ),
    ),
    "gcloud": Form(provider="gemini_cli", make=gcloud, optional=("account", "quota_project_id", "universe_domain")),
    "qwen code": Form(
        provider="qwen_code", make=qwens, optional=("token_type", "expiry_date", "resource_url"), how=("link", "copy")
    ),
    "qwen, mirrowel's": Form(
        provider="qwen_code",
        make=qwens_in_another_proxy,
        optional=("token_type", "expiry_date", "resource_url", "_proxy_metadata.email"),
    ),
    "qwen, cliproxy's": Form(
        provider="qwen_code",
        make=qwens_in_a_third_proxy,
        optional=("type", "resource_url", "email", "expired", "last_refresh"),
    ),
}
#: Variables of the stateless form, besides the refresh token.
VARIABLES = {
    "gemini_cli": "ACCESS_TOKEN EXPIRY_DATE CLIENT_ID+CLIENT_SECRET TOKEN_URI EMAIL PROJECT_ID TIER".split(),
    "qwen_code": "ACCESS_TOKEN EXPIRY_DATE CLIENT_ID TOKEN_URI EMAIL RESOURCE_URL".split(),
}


def in_ms(seconds):
    return int((time.time() + seconds) * 1000)


def id_token(email):
    import base64

    claims = base64.urlsafe_b64encode(json.dumps({"email": email, "iss": "https://accounts.google.com"}).encode())
    return f"eyJ.{claims.decode().rstrip('=')}.sig"


def without(fields, name):
    outer, _, inner = name.partition(".")
    if inner:
        return {**fields, outer: {k: v for k, v in fields[outer].items() if k != inner}}
    return {k: v for k, v in fields.items() if k != name}


# --- The site ----------------------------------------------------------------------------


@dataclass
class Site:
    """The fakes, a home, and the logins that were put there: which account each is."""

    home: object
    servers: dict
    clock: AheadClock
    environ: dict = field(default_factory=dict)
    accounts: dict = field(default_factory=lambda: {name: [] for name in PROVIDERS})
    proxy: object = None

    @property
    def tables(self):
        rotation = {"selector": "balanced", "tiers": {"standard-tier": DEFAULT_PRIORITY}}
        google, qwen = self.servers["gemini_cli"], self.servers["qwen_code"]
        return {
            "plugins": {
                "gemini_cli": {**google.settings, "quota_every_s": 3600},
                "qwen_code": {**qwen.settings, "chat_url": qwen.url},
            },
            "providers": {name: {"rotation": rotation} for name in PROVIDERS},
            "routing": {"max_wait_s": 10},
        }

    def secrets(self, provider, row):
        """New tokens of an account of this row's own."""
        email = f"{row}@example.com"
        self.accounts[provider].append(email)
        tokens = self.servers[provider].issue(email)
        return tokens.access_token.get_secret_value(), tokens.refresh_token.get_secret_value(), email

    def file(self, provider, row, make, missing=None):
        access, refresh, email = self.secrets(provider, row)
        fields = make(access, refresh, email, self.servers[provider])
        path = self.home / provider / f"{row}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(fields if missing is None else without(fields, missing)))
        return path

    def variables(self, provider, number, missing):
        access, refresh, email = self.secrets(provider, f"variable-{number}")
        server = self.servers[provider]
        own = {"CLIENT_ID": "example-client", "TOKEN_URI": server.settings["token_url"], "EMAIL": email}
        tokens = {"ACCESS_TOKEN": access, "REFRESH_TOKEN": refresh, "EXPIRY_DATE": str(in_ms(HOUR_S))}
        google = {"CLIENT_SECRET": "example-secret", "PROJECT_ID": PROJECT, "TIER": "standard-tier"}
        every = {**tokens, **own, **(google if provider == "gemini_cli" else {"RESOURCE_URL": server.base})}
        for name in missing.split("+") if missing else ():
            del every[name]
        self.environ |= {f"{provider.upper()}_{number}_{name}": value for name, value in every.items()}

    async def imports(self, provider, *arguments, code=0):
        """``proxy-core credentials import``, in this process; what it printed. ``code=None``: however it ends."""
        config = self.home / "proxy-core.toml"
        config.write_text("\n".join(toml(self.tables["plugins"])))
        environ = {"PROXY_DATA_DIR": str(self.home / "data"), "HOME": str(self.home)}
        typed = [provider, *map(str, arguments), "--config", str(config)]
        done = await asyncio.to_thread(CliRunner().invoke, import_command, typed, env=environ)
        assert code in (done.exit_code, None), done.output
        return done.output

    @asynccontextmanager
    async def running(self):
        settings = {"folder": self.home, "environ": self.environ, "clock": self.clock}
        async with run_proxy(self.tables, **settings) as self.proxy:
            yield

    async def start(self, make_proxy):
        self.proxy = await make_proxy(self.tables, environ=self.environ, clock=self.clock)

    async def expire(self):
        """Every access token ends, by its own time and for the vendor."""
        self.clock.ahead_s += HOUR_S + 100
        for server in self.servers.values():
            server._access.clear()
        await self.proxy.reload(timeouts={"idle_s": 300 + self.clock.ahead_s})

    def served(self, provider):
        """The accounts whose tokens have reached the model."""
        server = self.servers[provider]
        paths = ("enerateContent", "/chat/completions")
        asked = [r for r in server.requests if any(path in r.path for path in paths)]
        return {server._access[r.key][0].identity for r in asked if r.key in server._access}

    async def chats(self, provider):
        """Ask until every account has answered; nobody is refused."""
        expected = set(self.accounts[provider])
        async with asyncio.timeout(30):
            while {found["state"] for found in self.why(provider)} != {"usable"}:
                await asyncio.sleep(0.02)
            while not self.served(provider) >= expected:
                answers = await asyncio.gather(*(self.proxy.chat(MODELS[provider], "hi") for _ in range(8)))
                assert {a.status for a in answers} == {200}, [a.error for a in answers if a.status != 200][:1]

    def why(self, provider):
        """What ``proxy-core why`` shows of each credential."""
        return described(self.proxy.proxy.pools[provider], MODELS[provider].partition("/")[2], str)["credentials"]

    def ids(self, provider):
        return sorted(credential.id for credential in self.proxy.proxy.pools[provider].credentials)


def toml(plugins):
    for name, settings in plugins.items():
        yield f"[plugins.{name}]"
        yield from (f"{key} = {json.dumps(value)}" for key, value in settings.items())


@pytest.fixture
async def site(tmp_path):
    # The plugins read the machine's clock, so a new token has to outlast the time by which the proxy's is ahead.
    async with FakeGoogle(life_s=9 * HOUR_S) as google, FakeQwen(life_s=9 * HOUR_S) as qwen:
        google.buckets = []  # reported usage would decide who is asked
        yield Site(tmp_path, {"gemini_cli": google, "qwen_code": qwen}, AheadClock())


@contextmanager
def keychain(entry):
    """The system's keychain, played by a backend of keyring's."""
    keyring = pytest.importorskip("keyring")
    from keyring.backend import KeyringBackend

    class Keychain(KeyringBackend):
        priority = 1

        def get_password(self, service, username):
            return entry if (service, username) == ("gemini-cli-oauth", "main-account") else None

        def set_password(self, service, username, password):
            raise NotImplementedError

        def delete_password(self, service, username):
            raise NotImplementedError

    before = keyring.get_keyring()
    keyring.set_keyring(Keychain())
    try:
        yield
    finally:
        keyring.set_keyring(before)


async def put_everything_there(site):
    for name, form in FORMS.items():
        for how in form.how:
            files = []
            for missing in (None, *form.optional):
                row = f"{name} {how} {missing or 'whole'}".replace(" ", "-").replace("'", "").replace(",", "")
                files.append(site.file(form.provider, row, form.make, missing))
            output = await site.imports(form.provider, *files, *([f"--{how}"] if how else []))
            assert ("is linked to" in output) == (how == "link"), output
    with keychain(json.dumps(nested(*site.secrets("gemini_cli", "keychain"), site.servers["gemini_cli"]))):
        await site.imports("gemini_cli", "--format", "keychain")
    for provider, names in VARIABLES.items():
        for number, missing in enumerate((None, *names), 1):
            site.variables(provider, number, missing)


# --- Tests -------------------------------------------------------------------------------


async def test_every_way_in_is_used_renewed_restarted_and_used_again(site):
    await put_everything_there(site)
    async with site.running():
        for provider in PROVIDERS:
            await site.chats(provider)
        ids = {provider: site.ids(provider) for provider in PROVIDERS}
        before = {provider: len(site.servers[provider].accepted) for provider in PROVIDERS}

        await site.expire()
        for provider in PROVIDERS:
            await site.chats(provider)
            assert len(site.servers[provider].accepted) - before[provider] == len(site.accounts[provider])
        renewed = {provider: len(site.servers[provider].accepted) for provider in PROVIDERS}

    for server in site.servers.values():
        server.requests.clear()
    async with site.running():
        for provider in PROVIDERS:
            await site.chats(provider)
            assert site.ids(provider) == ids[provider]
            assert len(set(ids[provider])) == len(site.accounts[provider])
            assert len(site.servers[provider].accepted) == renewed[provider]
            assert site.servers[provider].spent_again == []


@pytest.mark.parametrize("how", ["--link", "--copy"])
@pytest.mark.parametrize(
    ("name", "other", "whose"),
    [
        (name, other, "Google" if other == "qwen_code" else "Qwen")
        for name, form in FORMS.items()
        for other in PROVIDERS
        if other != form.provider
    ],
)
async def test_one_vendors_file_is_not_taken_for_the_others(site, name, other, whose, how):
    form = FORMS[name]
    for missing in (None, *form.optional):
        file = site.file(form.provider, f"{missing}", form.make, missing)
        output = await site.imports(other, file, how, code=1)

        assert whose in output or "not a file of" in output
        assert not list((site.home / "data").rglob("credentials/*/*.json"))
    assert site.servers[other].requests == []


def replace_file(path, content):
    new = path.with_suffix(".new")
    new.write_text(content)
    new.replace(path)


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_linked_file_with_the_other_vendors_login_is_named_and_sends_nothing(site, make_proxy, provider):
    other = next(name for name in PROVIDERS if name != provider)
    makes = {"gemini_cli": cli, "qwen_code": qwens}
    file = site.file(provider, "mine", makes[provider])
    await site.imports(provider, file, "--link")
    whole = file.read_text()
    stranger = site.file(other, "stranger", makes[other]).read_text()
    await site.start(make_proxy)
    await site.chats(provider)

    replace_file(file, stranger)
    await site.expire()
    async with asyncio.timeout(10):
        while "is not a file of" not in str(site.why(provider)):
            await asyncio.sleep(0.02)
    secret = json.loads(stranger)["refresh_token"]
    sent = [r for server in site.servers.values() for r in server.requests if secret in r.body.decode()]
    replace_file(file, whole)
    await site.proxy.reload(timeouts={"idle_s": 777})

    assert sent == []
    assert file.read_text() != stranger
    await site.chats(provider)


@pytest.mark.parametrize("told", ["by its id_token", "by the neighbouring file", "by nothing"])
async def test_the_vendors_program_logs_in_to_another_account(site, make_proxy, told):
    google = site.servers["gemini_cli"]
    file = site.file("gemini_cli", "first", cli)
    await site.imports("gemini_cli", file, "--link")
    await site.start(make_proxy)
    await site.chats("gemini_cli")
    ids = site.ids("gemini_cli")
    google.account("second@example.com", project="another-project-1", load="without_project")

    access, refresh, email = site.secrets("gemini_cli", "second")
    site.accounts["gemini_cli"] = [email]
    google.account(email, load="licensed")
    fields = cli(access, refresh, email, google)
    if told == "by the neighbouring file":
        file.with_name("google_accounts.json").write_text(json.dumps({"active": email, "old": []}))
    replace_file(file, json.dumps(fields if told == "by its id_token" else without(fields, "id_token")))
    await site.proxy.reload(timeouts={"idle_s": 555})
    await site.chats("gemini_cli")
    await site.expire()
    await site.chats("gemini_cli")

    assert site.ids("gemini_cli") == ids
    (stored,) = Vault(site.home / "data" / "credentials", [*FILES, QWEN_FILE]).all("gemini_cli")
    assert stored.refresh_token.get_secret_value() == refresh


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_an_access_token_alone_is_used_until_it_is_refused_and_then_names_the_command(site, make_proxy, provider):
    site.variables(provider, 1, "REFRESH_TOKEN")
    await site.start(make_proxy)
    await site.chats(provider)

    await site.expire()
    async with asyncio.timeout(10):  # the first may come before the refresher has found out
        while "log in" not in (answer := await site.proxy.chat(MODELS[provider], "hi")).error["message"]:
            assert answer.status in (403, 503)

    assert answer.status == 403


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_variables_token_server_is_used_instead_of_the_configured_one(site, make_proxy, provider):
    """Also without an OAuth client among the variables."""
    site.variables(provider, 1, "EXPIRY_DATE")
    for name in ("CLIENT_ID", "CLIENT_SECRET"):
        site.environ.pop(f"{provider.upper()}_1_{name}", None)
    tables = site.tables
    tables["plugins"][provider]["token_url"] = "http://127.0.0.1:9/nowhere"
    site.proxy = await make_proxy(tables, environ=site.environ, clock=site.clock)

    await site.chats(provider)
    assert len(site.servers[provider].accepted) == 1


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_variable_that_names_no_token_server_is_reported_and_breaks_nothing_else(
    site, make_proxy, provider, caplog
):
    site.variables(provider, 1, "EXPIRY_DATE")
    site.environ[f"{provider.upper()}_1_TOKEN_URI"] = "nowhere"
    site.variables(provider, 2, None)
    await site.start(make_proxy)
    answers = [await site.proxy.chat(MODELS[provider], "hi") for _ in range(3)]
    await site.proxy.reload(timeouts={"idle_s": 555})

    assert {answer.status for answer in answers} == {200}
    assert "TOKEN_URI is not the https address of a server" in caplog.text
    assert "Traceback" not in caplog.text


async def test_the_form_without_a_number_works_like_the_numbered_one(site, make_proxy):
    for provider in PROVIDERS:
        site.variables(provider, 1, None)
    site.environ = {name.replace("_1_", "_"): value for name, value in site.environ.items()}
    await site.start(make_proxy)
    for provider in PROVIDERS:
        await site.chats(provider)
    await site.expire()

    for provider in PROVIDERS:
        await site.chats(provider)


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("how", ["--link", "--copy"])
@pytest.mark.parametrize("life_s", [0, 0.5, 5])
async def test_a_server_that_states_no_sensible_lifetime_is_not_asked_without_pause(
    site, make_proxy, provider, how, life_s
):
    server = site.servers[provider]
    file = site.file(provider, "one", {"gemini_cli": cli, "qwen_code": qwens}[provider], "expiry_date")
    await site.imports(provider, file, how)
    server.life_s = life_s
    await site.start(make_proxy)
    async with asyncio.timeout(10):
        while not server.accepted:
            await asyncio.sleep(0.02)
    await asyncio.sleep(0.7)

    assert len(server.accepted) == 1


@pytest.mark.parametrize(("failures", "least_s"), [(1, 0), (2, 1)])
async def test_a_look_up_of_a_project_that_fails_in_passing_is_repeated_at_once_and_then_later(
    site, make_proxy, failures, least_s
):
    google = site.servers["gemini_cli"]
    await site.imports("gemini_cli", site.file("gemini_cli", "one", cli), "--copy")
    google.fails(503, path="/v1internal:loadCodeAssist", times=failures)
    await site.start(make_proxy)
    began = time.monotonic()
    async with asyncio.timeout(8):
        while (answer := await site.proxy.chat(MODELS["gemini_cli"], "hi")).status != 200:
            await asyncio.sleep(0.02)

    assert answer.text == "hello"
    assert time.monotonic() - began >= least_s * 0.9
    assert len(google.called("loadCodeAssist")) == failures + 1


@pytest.mark.parametrize("why", ["no client", "invalid client"])
@pytest.mark.parametrize("provider", PROVIDERS)
async def test_an_expired_login_that_the_operator_must_set_up_says_so_at_once(
    site, make_proxy, provider, why, monkeypatch
):
    """Until it expires, it is used. ``why`` shows what the client is told."""
    form = {"gemini_cli": cli, "qwen_code": qwens}[provider]
    await site.imports(provider, site.file(provider, "one", form), "--copy")
    (site.home / "proxy-core.toml").unlink()  # it names the clients
    monkeypatch.setenv("PATH", str(site.home))  # no vendor's program is installed
    client_id = {"no client": None, "invalid client": "wrong-client"}[why]
    tables = site.tables
    tables["plugins"][provider]["client_id"] = client_id
    tables["plugins"][provider] = {k: v for k, v in tables["plugins"][provider].items() if v is not None}
    tables["routing"]["max_wait_s"] = 60
    site.proxy = await make_proxy(tables, clock=site.clock)
    await site.chats(provider)
    await site.expire()

    async with asyncio.timeout(10):
        while (answer := await site.proxy.chat(MODELS[provider], "hi")).status != 503:
            assert answer.status == 403  # the vendor's refusal, until the refresher has found out
    (told,) = site.why(provider)

    assert told["state"] == "needs setup"
    assert told["why"].rstrip(".") in answer.error["message"]
    assert "proxy-core reload" in told["why"] and "client" in told["why"]


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_file_that_always_says_expired_is_not_renewed_without_pause(site, make_proxy, provider):
    form = {"gemini_cli": cli, "qwen_code": qwens}[provider]
    file = site.file(provider, "one", form)
    await site.imports(provider, file, "--link")
    await site.start(make_proxy)
    for number in range(6):
        fields = json.loads(file.read_text())
        replace_file(file, json.dumps({**fields, "expiry_date": number + 1}))
        await site.proxy.reload(timeouts={"idle_s": 100 + number})
        await asyncio.sleep(0.2)

    assert len(site.servers[provider].accepted) == 1

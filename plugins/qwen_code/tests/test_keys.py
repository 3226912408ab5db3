"""Keys from Qwen Code's settings (qwen-code.md 7.4)."""

import json

import httpx
import pytest

from proxy_core.testing import run, serving
from proxy_plugin_qwen_code.hosts import BASES
from proxy_plugin_qwen_code.keys import read_settings


def read(fields, **variables):
    found = read_settings(json.dumps(fields).encode(), variables)
    return [(key.key.get_secret_value(), key.tier) for key in found]


def entry(variable, url=None, **more):
    return {"id": "m", "envKey": variable, **({"baseUrl": url} if url else {}), **more}


def entries(*found, **env):
    return {"env": env, "modelProviders": {"openai": list(found)}}


@pytest.mark.parametrize(("plan", "region"), [(plan, region) for plan, bases in BASES.items() for region in bases])
def test_an_entrys_address_determines_plan_and_region(plan, region):
    assert read(entries(entry("MINE", BASES[plan][region] + "/"), MINE="sk-1")) == [("sk-1", f"{plan}-{region}")]


def test_an_entry_without_an_address_belongs_to_the_plan_of_its_key():
    found = entries(entry("A"), entry("B"), entry("BAILIAN_TOKEN_PLAN_API_KEY"), A="sk-sp-1", B="sk-2")

    assert read(found, BAILIAN_TOKEN_PLAN_API_KEY="sk-3") == [
        ("sk-sp-1", "coding_plan"),
        ("sk-2", "model_studio"),
        ("sk-3", "token_plan"),
    ]


def test_names_of_plans_need_no_entry():
    env = {"BAILIAN_CODING_PLAN_API_KEY": "sk-sp-1", "DASHSCOPE_API_KEY": "sk-2"}

    assert read({"env": env}) == [("sk-sp-1", "coding_plan"), ("sk-2", "model_studio")]


@pytest.mark.parametrize(
    "text",
    [
        b'// mine\n{"env": {"DASHSCOPE_API_KEY": "sk-//2"}} // the end',
        b'{"env": /* one\nand two */ {"DASHSCOPE_API_KEY": "sk-//2"}, "a": "\\"/*"}',
        b'{"env": {"DASHSCOPE_API_KEY": "sk-//2"}} /* open',
    ],
)
def test_comments_are_skipped_but_not_in_strings(text):
    (found,) = read_settings(text, {})

    assert found.key.get_secret_value() == "sk-//2"


@pytest.mark.parametrize("text", [b"", b"[]", b"// only this", b'{"env": "unclosed', b"{" * 99_999, b'{"a":' * 99_999])
def test_settings_that_are_no_object_are_refused(text):
    with pytest.raises(ValueError, match="it is "):
        read_settings(text, {})


def test_a_variable_wins_over_the_settings():
    assert read({"env": {"DASHSCOPE_API_KEY": "old"}}, DASHSCOPE_API_KEY="new") == [("new", "model_studio")]


def test_a_key_of_many_models_is_one_and_the_entry_tells_its_region():
    url = BASES["coding_plan"]["china"]
    found = entries(
        entry("BAILIAN_CODING_PLAN_API_KEY", url),
        entry("BAILIAN_CODING_PLAN_API_KEY", url),
        BAILIAN_CODING_PLAN_API_KEY="sk-sp-1",
    )

    assert read(found) == [("sk-sp-1", "coding_plan-china")]


def test_the_common_name_counts_where_it_leads_to_the_vendor():
    env = {"OPENAI_API_KEY": "sk-1", "OPENAI_BASE_URL": BASES["model_studio"]["us"]}

    assert read({"env": env}) == [("sk-1", "model_studio-us")]
    with pytest.raises(ValueError, match="OPENAI_API_KEY belongs to a host that serves none of the plans"):
        read({"env": {**env, "OPENAI_BASE_URL": "https://api.example/v1"}})


NOTHING = {
    "no entry": ({}, "BAILIAN_CODING_PLAN_API_KEY is not set, .*DASHSCOPE_API_KEY is not set"),
    "not set": (entries(entry("MINE", BASES["coding_plan"]["china"])), "MINE is not set"),
    "another vendor's": (
        entries(entry("MINE", "https://dashscope.aliyuncs.com.evil/v1"), MINE="k"),
        "none of the plans",
    ),
    "no key": ({"env": {"DASHSCOPE_API_KEY": "sk-\u00e9-secret"}}, "DASHSCOPE_API_KEY is not a key"),
    "other shapes": ({"env": [1], "modelProviders": {"openai": [3, {"envKey": 4}]}}, "it contains no key"),
    "a list": ([], "not a JSON object"),
}


@pytest.mark.parametrize(("fields", "why"), NOTHING.values(), ids=NOTHING)
def test_an_error_about_settings_without_a_key_names_the_variables(fields, why):
    with pytest.raises(ValueError, match=why) as raised:
        read(fields)

    assert "secret" not in str(raised.value)


async def test_keys_are_imported_once_and_used(qwen, tmp_path):
    qwen.keys.add("sk-sp-a")
    folder = tmp_path / ".qwen"
    folder.mkdir()
    url = BASES["coding_plan"]["international"]
    (folder / "settings.json").write_text(json.dumps(entries(entry("MINE", url), entry("OTHER", url))))
    (folder / ".env").write_text("MINE=sk-sp-a\n")
    variables = {"QWEN_CODE_API_BASE": qwen.url, "PROXY_API_KEY": "client-key-0123456789"}

    code, output = await run(tmp_path, "credentials", "import", "qwen-code", **variables)
    again, told = await run(tmp_path, "credentials", "import", "qwen-code", **variables)
    linked, refused = await run(
        tmp_path, "credentials", "import", "qwen-code", str(folder / "settings.json"), "--link", **variables
    )
    (file,) = (tmp_path / "data").rglob("qwen_code/*.json")
    stored = json.loads(file.read_text())

    assert code == 0, output
    assert "coding_plan-international was copied" in output
    assert "sk-sp-a" not in output + told + refused
    assert (again, linked) == (1, 2)
    assert "already exists: coding_plan-international" in told
    assert (stored["tier"], oct(file.stat().st_mode & 0o777)) == ("coding_plan-international", "0o600")
    async with serving(tmp_path, **variables) as program, httpx.AsyncClient(trust_env=False) as client:
        body = {"model": "qwen_code/qwen3.7-plus", "messages": [{"role": "user", "content": "hi"}]}
        headers = {"authorization": "Bearer client-key-0123456789"}
        answer = await client.post(f"{program.url}/v1/chat/completions", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    assert [request.key for request in qwen.chats] == ["sk-sp-a"]


async def test_settings_without_a_key_say_so_in_a_line(tmp_path):
    folder = tmp_path / ".qwen"
    folder.mkdir()
    (folder / "settings.json").write_text('{"security": {"auth": {"selectedType": "qwen-oauth"}}}')

    code, output = await run(tmp_path, "credentials", "import", "qwen-code")

    assert code == 1
    assert output.count("\n") == 1
    assert "it contains no key; BAILIAN_CODING_PLAN_API_KEY is not set" in output


async def test_importing_a_login_also_mentions_the_keys(qwen, tmp_path):
    tokens = qwen.issue()
    folder = tmp_path / ".qwen"
    folder.mkdir()
    fields = {name: getattr(tokens, name).get_secret_value() for name in ("access_token", "refresh_token")}
    (folder / "oauth_creds.json").write_text(json.dumps({**fields, "token_type": "Bearer", "expiry_date": 1}))
    (folder / "settings.json").write_text(json.dumps({"env": {"DASHSCOPE_API_KEY": "sk-1"}}))

    code, output = await run(tmp_path, "credentials", "import", "qwen-code")

    assert code == 0, output
    assert "is linked to" in output
    assert (
        f"may contain keys; to import them: proxy-core credentials import qwen_code {folder / 'settings.json'}"
        in output
    )

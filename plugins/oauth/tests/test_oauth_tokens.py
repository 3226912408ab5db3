"""A token endpoint's answers, and what they mean."""

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr

from proxy_core import HttpResponse, LoginRequired, RetryRefresh
from proxy_plugin_oauth import (
    OAuthClient,
    OAuthRefused,
    authorization_url,
    id_token_label,
    new_pkce,
    read_pasted,
    read_tokens,
)

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def answer(body, status=200, **headers):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HttpResponse(status, {k.replace("_", "-"): v for k, v in headers.items()}, data)


def read(*args, **more):
    return read_tokens(answer(*args, **more), now=NOW, login="proxy-core login x", details=["resource_url"])


def jwt(**claims):
    return f"e.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.s"


def test_an_answer_becomes_tokens():
    tokens = read(
        {"access_token": "a", "expires_in": "3599", "refresh_token": "r", "scope": "x y", "resource_url": "https://u"}
    )

    assert tokens.access_token.get_secret_value() == "a"
    assert tokens.refresh_token.get_secret_value() == "r"
    assert tokens.expires_at == NOW + timedelta(seconds=3599)
    assert tokens.details == {"scope": "x y", "resource_url": "https://u"}


@pytest.mark.parametrize("stated", ["soon", "", -1, 1e30, "1e999", 10**400, True, None, [3600], {"seconds": 3600}])
def test_a_lifetime_that_makes_no_sense_loses_no_token(stated):
    tokens = read({"access_token": "a", "refresh_token": "rotated", "expires_in": stated})

    assert (tokens.refresh_token.get_secret_value(), tokens.expires_at) == ("rotated", None)


@pytest.mark.parametrize("refresh", [{}, {"refresh_token": None}, {"refresh_token": ""}])
def test_a_missing_refresh_token_keeps_the_old_one(refresh):
    assert read({"access_token": "a", **refresh}).refresh_token is None


def test_the_label_of_an_account_is_its_address_or_subject():
    assert read({"access_token": "a", "id_token": jwt(email="d@example.com", sub="1")}).identity == "d@example.com"
    assert id_token_label(jwt(sub="1057")) == "1057"
    assert [id_token_label(t) for t in ("", "a.b", "a.!!.c", "a.YQ.c", jwt(email=5), None)] == [None] * 6


REFUSED = [
    (({"error": "invalid_grant", "error_description": "revoked"}, 400), LoginRequired, "proxy-core login x"),
    (({"error": "invalid_grant"}, 200), LoginRequired, "log in again"),
    (({"error": "invalid_client"}, 401), OAuthRefused, "invalid_client"),
    (({"error": "unauthorized_client"}, 400), OAuthRefused, "unauthorized_client"),
    (({"error": "made\nup \x1b[2J"}, 400), OAuthRefused, "made up"),
    (({"error": {"message": "x"}}, 400), OAuthRefused, "400"),
    (({"nothing": 1}, 403), OAuthRefused, "403"),
    (({"error": "temporarily_unavailable"}, 400), RetryRefresh, "temporarily_unavailable"),
    (({"error": "invalid_grant"}, 503), RetryRefresh, "503"),
    (({"error": "rate"}, 429), RetryRefresh, "429"),
    ((b"<html>firewall</html>", 403), RetryRefresh, "403"),
    ((b"access_token=a&expires_in=1", 200), RetryRefresh, "200"),
    ((b"", 200), RetryRefresh, "200"),
    ((b"[]", 200), RetryRefresh, "200"),
    (({"access_token": ""}, 200), RetryRefresh, "without a token"),
    (({"access_token": 5}, 200), RetryRefresh, "without a token"),
    (({"token": "x"}, 200), RetryRefresh, "without a token"),
]


@pytest.mark.parametrize(("given", "kind", "words"), REFUSED)
def test_an_invalid_response_says_who_must_act(given, kind, words):
    with pytest.raises(kind) as caught:
        read(*given)

    assert words in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("status", [400, 429])
def test_a_token_that_the_server_repeats_is_hidden_and_the_id_of_the_request_is_not(status):
    spoken = "Bad token rt-2.0123456789-abcdefgh, request 0f8fad5b-d9cb-469f-a165-70867728950e, temporarily_unavailable"
    with pytest.raises((LoginRequired, RetryRefresh)) as caught:
        read({"error": "invalid_grant", "error_description": spoken}, status)

    assert "Bad token [hidden], request 0f8fad5b-d9cb-469f-a165-70867728950e, temp" in str(caught.value)
    assert "rt-2" not in f"{caught.value.__cause__}"


def test_retry_after_is_kept_and_capped():
    for value, seconds in (("7", 7.0), ("Sun, 01 Nov 2026 00:01:00 GMT", 60.0)):
        with pytest.raises(RetryRefresh) as caught:
            read({}, 429, retry_after=value)
        assert caught.value.retry_after_s == seconds


def test_a_limit_that_names_no_time_is_not_tried_within_seconds():
    with pytest.raises(RetryRefresh) as limited:
        read({}, 429)
    with pytest.raises(RetryRefresh) as failed:
        read({}, 503)

    assert limited.value.back_off_s[0] == 60
    assert not failed.value.back_off_s


def test_requests_say_what_the_grants_need():
    client = OAuthClient(client_id="id", client_secret=SecretStr("s&s"), token_url="http://127.0.0.1:1/token")
    pkce = new_pkce()

    code = client.code_request("4/0A+", redirect_uri="http://127.0.0.1:9/cb", pkce=pkce).content.decode()
    refresh = client.refresh_request(SecretStr("1//r")).content.decode()
    device = client.device_token_request(SecretStr("d"), pkce=pkce).content.decode()
    link = authorization_url(
        "https://x/a?hl=en", "id", redirect_uri="http://h/c", scope="a b", state="st", pkce=pkce, access_type="offline"
    )

    for part in ("grant_type=authorization_code", "code=4%2F0A%2B", "client_secret=s%26s", pkce.verifier):
        assert part in code
    for part in ("grant_type=refresh_token", "refresh_token=1%2F%2Fr", "client_id=id"):
        assert part in refresh
    assert "device_code=d" in device
    assert "scope" not in device
    for part in ("hl=en", "code_challenge_method=S256", f"code_challenge={pkce.challenge}", "access_type=offline"):
        assert part in link
    assert pkce.verifier not in link
    assert "s&s" not in repr(client)


ACCEPTED = """
4/0Ab-c
4%2F0Ab-c
4/0Ab-c#STATE
http://127.0.0.1:8/cb?code=4/0Ab-c&state=STATE
http://127.0.0.1:8/cb?state=STATE&code=4%2F0Ab-c&scope=x
https://x.example/page#code=4/0Ab-c&state=STATE
?code=4/0Ab-c&state=STATE
code=4/0Ab-c
""".split()


@pytest.mark.parametrize("text", ACCEPTED)
def test_a_code_is_pasted_in_many_ways(text):
    assert read_pasted(f"  {text}\n", "STATE").code == "4/0Ab-c"


@pytest.mark.parametrize(
    "text",
    ["", "?", "https://x.example/", "code=", "code=a&state=other", "code=a&code=b", "a#other", "state=STATE", "a=b"],
)
def test_what_holds_no_code_of_this_login_is_refused(text):
    with pytest.raises(ValueError) as caught:
        read_pasted(text, "STATE")

    assert "STATE" not in str(caught.value)


def test_a_pasted_refusal_is_one():
    assert read_pasted("http://h/?error=access_denied&state=STATE", "STATE").error == "access_denied"

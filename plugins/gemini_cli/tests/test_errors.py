"""Every case of the backend's error tables, and the decision on it."""

import json
from datetime import UTC, datetime

import pytest

from proxy_core import UpstreamFailure
from proxy_plugin_gemini import read_google_error
from proxy_plugin_gemini.google_error import duration_s
from proxy_plugin_gemini.limits import limit_of
from proxy_plugin_gemini.testing import ERRORS, error_body, info, quota, retry, variants
from proxy_plugin_gemini_cli.failures import classify_failure

NOW = datetime(2026, 11, 1, 20, 0, tzinfo=UTC)
DAY = 86_400.0


def verdict_of(name, body=None):
    status, own = ERRORS[name]
    return classify_failure(UpstreamFailure(provider="gemini_cli", status=status, body=body or own, received_at=NOW))


# name: (fault, next, rest, cooldown_s, the client's status, the client's code); cooldown_s ... is "some"
CASES = {
    "unknown_field": ("client", "reject", None, None, 400, None),
    "turn_order": ("client", "reject", None, None, 400, None),
    "oneof": ("client", "reject", None, None, 400, None),
    "too_complex": ("client", "reject", None, None, 400, None),
    "too_long": ("client", "reject", None, None, 400, "context_length_exceeded"),
    "string": ("client", "reject", None, None, 400, None),
    "location": ("credential", "rotate", "credential", ..., 403, "upstream_credential_refused"),
    "bad_key": ("credential", "rotate", "credential", ..., 403, "upstream_credential_refused"),
    "unauthenticated": ("credential", "rotate", "credential", ..., 403, "upstream_credential_refused"),
    "token_type": ("credential", "rotate", "credential", ..., 403, "upstream_credential_refused"),
    "validation_required": ("credential", "rotate", "credential", DAY, 403, "validation_required"),
    "subscription_required": ("credential", "rotate", "credential", DAY, 403, "account_ineligible"),
    "service_disabled": ("credential", "rotate", "credential", DAY, 403, "project_required"),
    "consumer_invalid": ("credential", "rotate", "credential", DAY, 403, "project_required"),
    "iam_denied": ("credential", "rotate", "credential", DAY, 403, "account_ineligible"),
    "tos_violation": ("credential", "rotate", "credential", DAY, 403, "account_ineligible"),
    "vpc_sc": ("credential", "rotate", "credential", DAY, 403, "account_ineligible"),
    "scope": ("credential", "rotate", "credential", DAY, 403, "reauthentication_required"),
    "not_found": ("model", "rotate", "model", ..., 404, "model_not_found"),
    "slow_408": ("provider", "retry", None, None, 504, "timeout"),
    "slow_504": ("provider", "retry", None, None, 504, "timeout"),
    "conflict": ("client", "reject", None, None, 409, None),
    "precondition": ("client", "reject", None, None, 412, None),
    "too_large": ("client", "reject", None, None, 413, None),
    "daily": ("model", "rotate", "quota", 31447.216, 429, "quota_exhausted"),
    "per_minute": ("model", "rotate", "quota", 12.5, 429, "rate_limit_exceeded"),
    "per_minute_no_delay": ("model", "rotate", "quota", 60, 429, "rate_limit_exceeded"),
    "per_minute_limit": ("model", "rotate", "quota", 60, 429, "rate_limit_exceeded"),
    "per_day_id": ("model", "rotate", "quota", 12 * 3600.0, 429, "quota_exhausted"),
    "daily_id": ("model", "rotate", "quota", 12 * 3600.0, 429, "quota_exhausted"),
    "per_day_limit": ("model", "rotate", "quota", 12 * 3600.0, 429, "quota_exhausted"),
    "capacity": ("model", "rotate", "model", 30, 429, "model_capacity_exhausted"),
    "capacity_delay": ("model", "rotate", "model", 7, 429, "model_capacity_exhausted"),
    "capacity_text": ("model", "rotate", "model", 30, 429, "model_capacity_exhausted"),
    "capacity_text_exceeded": ("model", "rotate", "model", 30, 429, "model_capacity_exhausted"),
    "capacity_text_reason": ("model", "rotate", "model", 30, 429, "model_capacity_exhausted"),
    "capacity_text_detailed": ("model", "rotate", "model", 30, 429, "model_capacity_exhausted"),
    "credits": ("model", "rotate", "quota", 3600, 429, "quota_exhausted"),
    "rate_short": ("model", "rotate", "quota", 0.84765501, 429, "rate_limit_exceeded"),
    "rate_long": ("model", "rotate", "quota", 3601, 429, "quota_exhausted"),
    "rate_no_delay": ("model", "rotate", "quota", 3600, 429, "quota_exhausted"),
    "rate_staging": ("model", "rotate", "quota", 3600, 429, "quota_exhausted"),
    "rate_autopush": ("model", "rotate", "quota", 3600, 429, "quota_exhausted"),
    "rate_foreign": ("model", "rotate", "quota", None, 429, "rate_limit_exceeded"),
    "retry_elsewhere": ("model", "rotate", "quota", 20, 429, "rate_limit_exceeded"),
    "retry_elsewhere_long": ("model", "rotate", "quota", 581981.300432511, 429, "quota_exhausted"),
    "text_short": ("model", "rotate", "quota", 0.9, 429, "rate_limit_exceeded"),
    "text_long": ("model", "rotate", "quota", 3600, 429, "quota_exhausted"),
    "no_entitlement": ("model", "rotate", "model", ..., 429, "insufficient_quota"),
    "plain_429": ("model", "rotate", "quota", None, 429, "rate_limit_exceeded"),
    "cancelled": ("provider", "retry", None, None, 502, "upstream_error"),
    "internal": ("provider", "retry", None, None, 502, "upstream_error"),
    "html_502": ("provider", "retry", None, None, 502, "upstream_error"),
    "unavailable": ("provider", "retry", None, None, 503, "server_is_overloaded"),
    "no_capacity_503": ("model", "rotate", "model", 30, 429, "model_capacity_exhausted"),
    "cancelled_quota": ("model", "rotate", "quota", 20, 429, "rate_limit_exceeded"),
    "html_503": ("provider", "retry", None, None, 503, "server_is_overloaded"),
    "empty_500": ("provider", "retry", None, None, 502, "upstream_error"),
}


def test_every_error_has_a_case():
    assert CASES.keys() == ERRORS.keys()


@pytest.mark.parametrize("name", CASES)
def test_what_follows(name):
    fault, following, rest, cooldown_s, status, code = CASES[name]
    decision = verdict_of(name)

    assert (decision.fault, decision.next, decision.cooldown) == (fault, following, rest)
    assert (decision.error.status, decision.error.code) == (status, code)
    if cooldown_s is ...:
        assert decision.cooldown_s is not None and decision.cooldown_s >= 60
    else:
        assert decision.cooldown_s == (None if cooldown_s is None else pytest.approx(cooldown_s))


@pytest.mark.parametrize("name", [n for n in ERRORS if ERRORS[n][1].startswith(b'{"error": {')])
def test_the_same_in_every_wrapping(name):
    plain = verdict_of(name)
    for body in variants(ERRORS[name][1]):
        decision = verdict_of(name, body)
        assert (decision.fault, decision.next, decision.cooldown) == (plain.fault, plain.next, plain.cooldown), body
        assert decision.error.code == plain.error.code, body


def test_the_owner_is_told_where_to_go_for_which_project_and_why():
    assert "https://accounts.google.com/example?x=1" in verdict_of("validation_required").error.message
    disabled = verdict_of("service_disabled").error.message
    page = "https://console.developers.google.com/apis/api/cloudaicompanion.googleapis.com?project=my-project-123"
    assert page in disabled
    assert "(SERVICE_DISABLED, project my-project-123)" in disabled
    assert "who=me" not in verdict_of("tos_violation").error.message


@pytest.mark.parametrize("name", ["validation_url", "validation_link"])
def test_the_page_that_verifies_an_account_has_several_names(name):
    url = "https://accounts.google.com/signin/continue?sarp=1&plt=AKgnsb"
    body = error_body(403, "PERMISSION_DENIED", "Verify.", info("VALIDATION_REQUIRED", **{name: url}))

    assert url in verdict_of("validation_required", body).error.message


def test_the_project_may_be_only_in_googles_sentence():
    body = error_body(
        403, "PERMISSION_DENIED", "API has not been used in project 4711 before.", info("SERVICE_DISABLED")
    )

    assert "(SERVICE_DISABLED, project 4711)" in verdict_of("service_disabled", body).error.message


@pytest.mark.parametrize("name", ["daily", "no_entitlement", "capacity", "service_disabled"])
def test_a_body_indented_with_no_break_spaces_is_read(name):
    own = ERRORS[name][1]
    indented = json.dumps(json.loads(own), indent=2, ensure_ascii=False).replace("  ", "\u00a0\u00a0").encode()
    decision, plain = verdict_of(name, indented), verdict_of(name)

    assert b"\xc2\xa0" in indented
    assert (decision.cooldown, decision.cooldown_s, decision.error.message) == (
        plain.cooldown,
        plain.cooldown_s,
        plain.error.message,
    )


def test_a_project_that_google_refuses_is_suspect():
    doubted = {name for name in ERRORS if verdict_of(name).suspect_details}

    assert doubted == {"subscription_required", "service_disabled", "consumer_invalid", "iam_denied"}
    unnamed = error_body(403, "PERMISSION_DENIED", "The caller does not have permission")
    assert classify_failure(
        UpstreamFailure(provider="gemini_cli", status=403, body=unnamed, received_at=NOW)
    ).suspect_details


def test_a_wait_for_clients_is_rounded_up():
    assert verdict_of("rate_short").error.retry_after_s == 1
    assert verdict_of("per_minute").error.retry_after_s == 13


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("9s", 9),
        ("0.847655010s", 0.84765501),
        ("900ms", 0.9),
        ("373.801628ms", 0.373801628),
        ("8h44m7s", 31447),
        ("161h39m41.300432511s", 581981.300432511),
        ("33740.910400305s", 33740.910400305),
        ("5m", 300),
        ("0s", 1),
        ("-3s", 1),
        ("900h", 8 * DAY),
        ("", None),
        ("soon", None),
        ("5", None),
    ],
)
def test_durations(text, seconds):
    assert duration_s(text) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("details", "wait_s"),
    [
        ([info("QUOTA_EXHAUSTED", quotaResetDelay="2h"), retry("10s")], 10),
        ([info("QUOTA_EXHAUSTED", quotaResetDelay="2h", quotaResetTimeStamp="2026-11-01T21:00:00Z")], 7200),
        ([info("QUOTA_EXHAUSTED", quotaResetTimeStamp="2026-11-01T21:00:00Z")], 3600),
        ([info("QUOTA_EXHAUSTED", quotaResetTimeStamp="2026-11-01T19:00:00Z")], 1),
        ([info("QUOTA_EXHAUSTED")], 31447),
    ],
)
def test_where_the_reset_is_read_from(details, wait_s):
    body = error_body(429, "RESOURCE_EXHAUSTED", "Your quota will reset after 8h44m7s.", *details)
    limit = limit_of(read_google_error(body), NOW)

    assert (limit.kind, limit.wait_s) == ("quota", pytest.approx(wait_s))


@pytest.mark.parametrize(
    ("words", "wait_s"),
    [
        ("Please retry in 2m.", 120),
        ("Your quota will reset after 1h2m3s.", 3723),
        ("Resets in 90s.", 90),
        ("Nothing is promised.", 12 * 3600),
    ],
)
def test_a_reset_time_that_only_the_text_names(words, wait_s):
    body = error_body(429, "RESOURCE_EXHAUSTED", words, info("QUOTA_EXHAUSTED"))

    assert limit_of(read_google_error(body), NOW).wait_s == pytest.approx(wait_s)


@pytest.mark.parametrize("domain", ["cloudcode-pa.googleapis.com", "googleapis.com"])
@pytest.mark.parametrize(("delay", "terminal"), [("300s", False), ("300.5s", True)])
def test_a_wait_of_up_to_five_minutes_is_a_rate_limit(domain, delay, terminal):
    body = error_body(429, "RESOURCE_EXHAUSTED", "x", info("RATE_LIMIT_EXCEEDED", domain), retry(delay))

    assert limit_of(read_google_error(body), NOW).terminal is terminal


@pytest.mark.parametrize(
    ("words", "kind"), [("limit: 0", "none"), ("limit: 0, model: x", "none"), ("limit: 0.5", "rate")]
)
def test_only_a_limit_of_exactly_zero_means_no_entitlement(words, kind):
    body = error_body(429, "RESOURCE_EXHAUSTED", f"Quota exceeded, {words}")

    assert limit_of(read_google_error(body), NOW).kind == kind


def test_a_day_ends_at_midnight_in_california():
    body = error_body(429, "RESOURCE_EXHAUSTED", "x", quota("GenerateRequestsPerDay"))

    assert limit_of(read_google_error(body), datetime(2026, 7, 1, 6, 0, tzinfo=UTC)).wait_s == 3600


def test_an_error_within_a_stream_keeps_its_own_code():
    body = error_body(429, "RESOURCE_EXHAUSTED", "x", info("QUOTA_EXHAUSTED"), retry("600s"))
    decision = classify_failure(UpstreamFailure(provider="gemini", status=200, body=body, received_at=NOW))

    assert (decision.cooldown, decision.cooldown_s) == ("quota", 600)


@pytest.mark.parametrize("transport", ["connect", "timeout", "disconnect", "cut", "unreadable"])
def test_transport_failures_are_left_to_the_core(transport):
    assert classify_failure(UpstreamFailure(provider="gemini", transport=transport)).cooldown is None


@pytest.mark.parametrize(("name", "told"), [("not_found", 404), ("no_entitlement", 429), ("capacity", 429)])
async def test_a_failure_of_one_model_leaves_the_others_of_its_quota_group_in_use(start, google, login, name, told):
    login()
    google.errs(name)
    proxy = await start(routing={"max_wait_s": 0.2})

    first = await proxy.chat("gemini_cli/gemini-3.1-pro-preview", "hi")
    other = await proxy.chat("gemini_cli/gemini-2.5-pro", "hi")
    again = await proxy.chat("gemini_cli/gemini-3.1-pro-preview", "hi")

    assert (first.status, other.status) == (told, 200)
    assert again.status != 200
    assert len(google.called("streamGenerateContent")) + len(google.called(":generateContent")) == 2

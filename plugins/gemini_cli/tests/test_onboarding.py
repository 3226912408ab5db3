"""The project and tier of an account: every branch of the decision, and the requests behind it."""

import json

import pytest

from proxy_plugin_gemini import read_google_error
from proxy_plugin_gemini.testing import ERRORS
from proxy_plugin_gemini_cli.code_assist import backend_of
from proxy_plugin_gemini_cli.onboarding import (
    INELIGIBLE,
    AskAgain,
    NotServed,
    Onboard,
    Ready,
    decide,
    discover,
    effective_tier,
    finished,
    load_body,
    onboard_body,
    project_id,
    refused,
)
from proxy_plugin_gemini_cli.testing import LOADS, PROJECT

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("load", "project", "result"),
    [
        ("licensed", None, Ready(project=PROJECT, tier="standard-tier")),
        ("licensed", "other", Ready(project=PROJECT, tier="standard-tier")),
        ("object_project", None, Ready(project=PROJECT, tier="standard-tier")),
        ("without_project", "mine", Ready(project="mine", tier="standard-tier")),
        ("paid", None, Ready(project="proven-coast-abc12", tier="g1-pro-tier")),
        ("new", "mine", Onboard(tier="standard-tier", project="mine")),
        ("new_free", None, Onboard(tier="free-tier", project=None)),
        ("new_free", "mine", Onboard(tier="free-tier", project="mine")),
        ("new_without_default", "mine", Onboard(tier="legacy-tier", project="mine")),
        ("ended", "mine", Onboard(tier="legacy-tier", project="mine")),
    ],
)
def test_decisions(load, project, result):
    assert decide(LOADS[load], project) == result


@pytest.mark.parametrize(
    ("load", "code", "words"),
    [
        ("without_project", "project_required", "GOOGLE_CLOUD_PROJECT"),
        ("new", "project_required", "GOOGLE_CLOUD_PROJECT"),
        ("new_without_default", "project_required", "GOOGLE_CLOUD_PROJECT"),
        ("empty", "project_required", "GOOGLE_CLOUD_PROJECT"),
        ("ended", "account_ineligible", "API key"),
        ("ineligible", "account_ineligible", "You are too young"),
        ("validation", "validation_required", "https://accounts.google.com/verify"),
    ],
)
def test_refusals_say_what_would_help(load, code, words):
    with pytest.raises(NotServed, match=words) as raised:
        decide(LOADS[load], None)
    assert raised.value.code == code


@pytest.mark.parametrize("reason", [*INELIGIBLE, "UNKNOWN", "SOMETHING_NEW"])
def test_every_reason_for_not_being_served_is_reported(reason):
    refusal = {"reasonCode": reason, "reasonMessage": "What Google says.", "tierId": "free-tier"}
    with pytest.raises(NotServed, match="What Google says") as raised:
        decide({"ineligibleTiers": [refusal]}, None)

    assert raised.value.code == "account_ineligible"
    assert INELIGIBLE.get(reason, "") in str(raised.value)


def test_bodies_leave_the_project_out_where_it_must_be_absent():
    assert "duetProject" not in load_body(None)["metadata"]
    assert load_body("p")["cloudaicompanionProject"] == load_body("p")["metadata"]["duetProject"] == "p"
    free = onboard_body(Onboard(tier="free-tier", project="p"))
    assert "cloudaicompanionProject" not in free and "duetProject" not in free["metadata"]
    assert onboard_body(Onboard(tier="standard-tier", project="p"))["cloudaicompanionProject"] == "p"


def test_operations():
    step = Onboard(tier="standard-tier", project=None)
    assert finished({"name": "operations/x"}, step) is None
    done = {"done": True, "response": {"cloudaicompanionProject": {"id": "p"}}}
    assert finished(done, step) == Ready(project="p", tier="standard-tier")
    assert finished({"done": True}, Onboard(tier="x", project="mine")) == Ready(project="mine", tier="x")
    with pytest.raises(NotServed, match="Caller lacks permission"):
        finished({"done": True, "error": {"code": 7, "message": "Caller lacks permission."}}, step)
    with pytest.raises(NotServed, match="project is required"):
        finished({"done": True}, step)


def test_tiers_and_projects_in_every_form():
    assert effective_tier({}) == "standard-tier"
    assert effective_tier({"currentTier": {"id": "free-tier"}, "paidTier": {}}) == "free-tier"
    assert [project_id(value) for value in ("p", {"id": "p"}, {}, "", None, 3)] == ["p", "p", None, None, None, None]


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("service_disabled", "project_required", "https://console"),
        ("subscription_required", "account_ineligible", "licence"),
        ("consumer_invalid", "project_required", "set another project"),
        ("iam_denied", "account_ineligible", "cloudaicompanion.user"),
        ("scope", "reauthentication_required", "log in again"),
        ("tos_violation", "account_ineligible", "https://example.com/appeal"),
        ("validation_required", "validation_required", "https://accounts.google.com"),
    ],
)
def test_a_failed_lookup_says_what_would_help(name, code, words):
    with pytest.raises(NotServed, match=words) as raised:
        refused(read_google_error(ERRORS[name][1]), None)
    assert raised.value.code == code


def test_cloud_shells_own_project_is_not_used():
    with pytest.raises(NotServed, match="Cloud Shell"):
        refused(read_google_error(ERRORS["iam_denied"][1]), "cloudshell-gca")


# --- Against the fake --------------------------------------------------------------------


@pytest.fixture
def found(google, settings, exchange):
    async def find(project=None, **account):
        google.account(**account)
        tokens = google.issue()
        return await discover(exchange, backend_of(settings), tokens.access_token, project)

    return find


async def test_an_account_that_is_set_up_needs_one_request(found, google):
    assert await found() == Ready(project=PROJECT, tier="standard-tier")
    assert [r.path for r in google.requests] == ["/v1internal:loadCodeAssist"]


async def test_a_new_account_is_set_up_and_its_operation_polled(found, google):
    ready = await found("mine", load="new", polls=2)

    assert ready == Ready(project="mine", tier="standard-tier")
    assert [r.method for r in google.requests] == ["POST", "POST", "GET", "GET"]
    assert google.requests[-1].path.startswith("/v1internal/operations/onboard.")


async def test_a_free_account_is_set_up_without_a_project(found, google):
    assert (await found("mine", load="new_free")).tier == "free-tier"
    assert "cloudaicompanionProject" not in json.loads(google.called("onboardUser")[0].body)


async def test_a_failed_account_setup_says_why(found):
    with pytest.raises(NotServed, match="Caller lacks permission"):
        await found("mine", load="new", onboard_error="Caller lacks permission on the project.")


@pytest.mark.parametrize(("name", "words"), [("precondition", "Precondition Failed"), ("iam_denied", "permission")])
async def test_a_refused_account_setup_says_why(found, google, name, words):
    status, body = ERRORS[name]
    google.fails(status, body, path="/v1internal:onboardUser")
    with pytest.raises(NotServed, match=words):
        await found("mine", load="new")


@pytest.mark.parametrize("name", ["plain_429", "internal", "html_502"])
async def test_account_setup_is_retried_if_it_may_work_later(found, google, name):
    status, body = ERRORS[name]
    google.fails(status, body, path="/v1internal:onboardUser")
    with pytest.raises(AskAgain, match=str(status)):
        await found("mine", load="new")


async def test_an_operation_without_a_name_is_started_again(found, google):
    google.fails(200, b'{"done": false}', path="/v1internal:onboardUser")

    assert await found("mine", load="new") == Ready(project="mine", tier="standard-tier")
    assert len(google.called("onboardUser")) == 2


async def test_account_setup_has_a_time_limit(google, settings, exchange):
    google.account(load="new", polls=10_000)
    settings = settings.model_copy(update={"onboard_s": 0.05})
    with pytest.raises(AskAgain, match="not set up within"):
        await discover(exchange, backend_of(settings), google.issue().access_token, "mine")


async def test_vpc_service_controls_leave_the_configured_project(found):
    assert await found("mine", load="vpc_sc") == Ready(project="mine", tier="standard-tier")
    with pytest.raises(NotServed, match="project is required"):
        await found(load="vpc_sc")


async def test_a_project_number_is_refused_before_any_request(found, google):
    with pytest.raises(NotServed, match="number"):
        await found("123456")
    assert google.requests == []


@pytest.mark.parametrize("load", ["internal", "html_502", "empty"])
async def test_an_unusable_response_is_retried(found, load):
    with pytest.raises(AskAgain):
        await found("mine", load=load)


@pytest.mark.parametrize("load", ["service_disabled", "subscription_required", "tos_violation"])
async def test_refused_accounts(found, load):
    with pytest.raises(NotServed):
        await found("mine", load=load)

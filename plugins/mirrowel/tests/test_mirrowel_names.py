"""Mirrowel's environment variables: what each sets, what wins, and what is said about mistakes."""

import re
from operator import attrgetter

import pytest

from proxy_core import RotationSettings, SettingsError
from proxy_core.cli.api import load
from proxy_plugin_mirrowel.names import PROXY_NAMES, WITHOUT_EFFECT
from proxy_plugin_mirrowel.rotation_names import ROTATION_NAMES
from proxy_plugin_mirrowel.temperature import MirrowelSettings


@pytest.fixture
def read(tmp_path):
    """Settings from a file's text and an environment."""

    def read(text="", **environ):
        (tmp_path / "proxy-core.toml").write_text(text)
        return load(environ=environ, cwd=tmp_path)

    return read


def rotation(loaded, name="groq", **plugins):
    return loaded.provider(name, plugins).rotation


def cap(on, limit, priorities=(), cooldown="quota_reset"):
    entry = {"models": on, "limit": limit, "priorities": list(priorities), "cooldown": cooldown}
    return RotationSettings(caps=[entry]).caps[0]


# --- The whole proxy, and providers -------------------------------------------------------

VALUES = {"PROXY_DEBUG_LOG": ("true", "True")}


@pytest.mark.parametrize(("name", "path"), PROXY_NAMES.items())
def test_names_of_the_replaced_system_still_work(read, name, path):
    text, value = VALUES.get(name, ("42", "42"))

    assert str(attrgetter(".".join(path))(read(**{name: text}).settings)).removesuffix(".0") == value


@pytest.mark.parametrize(
    ("text", "value"), [("false", "keep"), ("TRUE", "set"), ("1", "set"), ("yes", "set"), ("remove", "remove")]
)
def test_override_temperature_zero_has_several_spellings(read, text, value):
    assert read(OVERRIDE_TEMPERATURE_ZERO=text).plugin("mirrowel", MirrowelSettings).temperature_zero == value


@pytest.mark.parametrize("text", ["0", "0.5", "90000", "-1", "x", "nan", "inf"])
def test_a_refresh_interval_outside_a_second_and_a_day_is_refused_by_the_variables_name(read, text):
    with pytest.raises(SettingsError) as caught:
        read(OAUTH_REFRESH_INTERVAL=text)

    [line] = caught.value.problems
    assert line.startswith("credentials.refresh_interval_s: Input should be ")
    assert line.endswith("(from environment variable OAUTH_REFRESH_INTERVAL)")


@pytest.mark.parametrize(("text", "value"), [("1", 1), ("86400", 86_400), ("", 600)])
def test_a_refresh_interval_may_be_a_second_or_a_day(read, text, value):
    assert read(OAUTH_REFRESH_INTERVAL=text).settings.credentials.refresh_interval_s == value


def test_a_nested_name_beats_a_compatible_one(read):
    environ = {"TIMEOUT_CONNECT": "1", "PROXY_TIMEOUTS__CONNECT_S": "2"}

    assert read(**environ).settings.timeouts.connect_s == 2


MODEL_FORMS = [
    ('["a", "b"]', {"a": None, "b": None}),
    ("a, b", {"a": None, "b": None}),
    ('{"a": {"id": "up/a", "options": {"top_k": 1}}, "b": {}}', {"a": "up/a", "b": None}),
]


@pytest.mark.parametrize(("text", "ids"), MODEL_FORMS)
def test_models_of_a_provider_have_three_forms(read, text, ids):
    models = read(DEMO_MODELS=text).provider("demo").models

    assert {name: model.id for name, model in models.items()} == ids


def test_filters_come_from_the_environment(read):
    provider = read(IGNORE_MODELS_DEMO="a*,b", WHITELIST_MODELS_DEMO="abc").provider("demo")

    assert (provider.exclude_models, provider.include_models) == (["a*", "b"], ["abc"])


# --- Names of the replaced system --------------------------------------------------------

#: ``(form, name, value, key, what it becomes)``; the selector is ``sequential``.
NAMES = [
    ("ROTATION_TOLERANCE", "ROTATION_TOLERANCE", "3.0", "tolerance", 3),
    ("EXHAUSTION_COOLDOWN_THRESHOLD", "EXHAUSTION_COOLDOWN_THRESHOLD", "60", "exhausted_cooldown_s", 60),
    ("EXHAUSTION_COOLDOWN_THRESHOLD_<NAME>", "EXHAUSTION_COOLDOWN_THRESHOLD_GROQ", "60", "exhausted_cooldown_s", 60),
    ("ROTATION_MODE_<NAME>", "ROTATION_MODE_GROQ", "Sequential", "selector", "sequential"),
    *(
        (f"{prefix}_CONCURRENT_REQUESTS_PER_KEY_<NAME>[_<MODE>]", name, value, key, int(value))
        for prefix, key in (("MAX", "max_concurrent"), ("OPTIMAL", "preferred_concurrency"))
        for name, value in (
            (f"{prefix}_CONCURRENT_REQUESTS_PER_KEY_GROQ", "-1"),
            (f"{prefix}_CONCURRENT_REQUESTS_PER_KEY_GROQ_SEQUENTIAL", "4"),
        )
    ),
    *(
        ("CONCURRENCY_MULTIPLIER_<NAME>_PRIORITY_<N>[_<MODE>]", name, "2", "multipliers", {1: 2})
        for name in ("CONCURRENCY_MULTIPLIER_GROQ_PRIORITY_1", "CONCURRENCY_MULTIPLIER_GROQ_PRIORITY_1_SEQUENTIAL")
    ),
    ("SEQUENTIAL_FALLBACK_MULTIPLIER_<NAME>", "SEQUENTIAL_FALLBACK_MULTIPLIER_GROQ", "3", "default_multiplier", 3),
    ("FAIR_CYCLE_<NAME>", "FAIR_CYCLE_GROQ", "true", "fair_cycle", True),
    ("FAIR_CYCLE_ENABLED_<NAME>", "FAIR_CYCLE_ENABLED_GROQ", "False", "fair_cycle", False),
    (
        "FAIR_CYCLE_TRACKING_MODE_<NAME>",
        "FAIR_CYCLE_TRACKING_MODE_GROQ",
        "CREDENTIAL",
        "fair_cycle_scope",
        "credential",
    ),
    ("FAIR_CYCLE_CROSS_TIER_<NAME>", "FAIR_CYCLE_CROSS_TIER_GROQ", "yes", "fair_cycle_cross_tier", True),
    ("FAIR_CYCLE_DURATION_<NAME>", "FAIR_CYCLE_DURATION_GROQ", "86400", "fair_cycle_s", 86_400),
    ("FAIR_CYCLE_QUOTA_THRESHOLD_<NAME>", "FAIR_CYCLE_QUOTA_THRESHOLD_GROQ", "0.8", "fair_cycle_share", 0.8),
    (
        "FAIR_CYCLE_RESET_COOLDOWN_THRESHOLD_<NAME>",
        "FAIR_CYCLE_RESET_COOLDOWN_THRESHOLD_GROQ",
        "30",
        "fair_cycle_short_cooldown_s",
        30,
    ),
    (
        "QUOTA_GROUPS_<NAME>_<GROUP>",
        "QUOTA_GROUPS_GROQ_BIG_ONES",
        "a-1, b.2",
        "quota_groups",
        {"big_ones": ["a-1", "b.2"]},
    ),
    ("CUSTOM_CAP_<NAME>_T<PRIORITIES>_<ON>", "CUSTOM_CAP_GROQ_T2_PRO", "130", "caps", [cap("PRO", "130", [2])]),
]


@pytest.mark.parametrize(("form", "name", "value", "key", "becomes"), NAMES, ids=[row[1] for row in NAMES])
def test_a_name_of_the_replaced_system_sets_its_key(read, form, name, value, key, becomes):
    found = rotation(read("[routing]\nselector = 'sequential'\n", **{name: value}))

    assert getattr(found, key) == becomes
    assert found.model_fields_set == {key}


def test_each_form_has_a_row_above():
    assert {row[0] for row in NAMES} | {"CUSTOM_CAP_COOLDOWN_<NAME>_T<PRIORITIES>_<ON>"} == set(ROTATION_NAMES)
    assert {row[3] for row in NAMES} == set(ROTATION_NAMES.values())


@pytest.mark.parametrize("form", ["ROTATION_MODE", "rotation.selector", "plugin", "routing.selector"])
def test_a_name_for_a_mode_counts_with_that_selector_only(read, form):
    names = {
        "MAX_CONCURRENT_REQUESTS_PER_KEY_GROQ": "1",
        "MAX_CONCURRENT_REQUESTS_PER_KEY_GROQ_BALANCED": "2",
        "MAX_CONCURRENT_REQUESTS_PER_KEY_GROQ_SEQUENTIAL": "3",
        "CONCURRENCY_MULTIPLIER_GROQ_PRIORITY_1": "4",
        "CONCURRENCY_MULTIPLIER_GROQ_PRIORITY_1_BALANCED": "5",
        "CONCURRENCY_MULTIPLIER_GROQ_PRIORITY_2_SEQUENTIAL": "6",
        "SEQUENTIAL_FALLBACK_MULTIPLIER_GROQ": "7",
    }
    balanced = rotation(read(**names))
    text = {
        "rotation.selector": "[providers.groq.rotation]\nselector = 'sequential'\n",
        "routing.selector": "[routing]\nselector = 'sequential'\n",
    }.get(form, "")
    more = {"ROTATION_MODE_GROQ": "sequential"} if form == "ROTATION_MODE" else {}
    plugins = {"groq": RotationSettings(selector="sequential")} if form == "plugin" else {}
    sequential = rotation(read(text, **names, **more), **plugins)

    assert (balanced.max_concurrent, balanced.multipliers, balanced.default_multiplier) == (2, {1: 5}, 1)
    assert (sequential.max_concurrent, sequential.multipliers, sequential.default_multiplier) == (3, {1: 4, 2: 6}, 7)


def test_the_short_name_of_fair_cycle_wins_and_is_no_other(read):
    found = rotation(read(FAIR_CYCLE_GROQ="false", FAIR_CYCLE_ENABLED_GROQ="true", FAIR_CYCLE_DURATION_GROQ="60"))

    assert (found.fair_cycle, found.fair_cycle_s) == (False, 60)
    assert rotation(read(FAIR_CYCLE_DURATION_GROQ="60")).fair_cycle is None


def test_a_name_for_one_provider_wins_over_one_for_all(read):
    loaded = read(EXHAUSTION_COOLDOWN_THRESHOLD_GROQ="1", EXHAUSTION_COOLDOWN_THRESHOLD="2")

    assert (rotation(loaded).exhausted_cooldown_s, rotation(loaded, "other").exhausted_cooldown_s) == (1, 2)


def test_names_with_underscores_are_not_taken_for_a_shorter_provider(read):
    loaded = read(
        "[providers.gemini]\n[providers.gemini-cli]\n",
        QUOTA_GROUPS_GEMINI_CLI_PRO="a",
        CUSTOM_CAP_GEMINI_CLI_TDEFAULT_PRO="5",
        MAX_CONCURRENT_REQUESTS_PER_KEY_GEMINI_CLI="3",
    )

    assert rotation(loaded, "gemini") == RotationSettings()
    assert rotation(loaded, "gemini-cli").quota_groups == {"pro": ["a"]}
    assert rotation(loaded, "gemini-cli").caps == [cap("PRO", "5")]
    assert rotation(loaded, "gemini-cli").max_concurrent == 3


def test_a_provider_of_a_plugin_is_known_by_the_plugins(read):
    loaded = read(QUOTA_GROUPS_GEMINI_CLI_PRO="a")
    plugins = {"gemini": RotationSettings(), "gemini_cli": RotationSettings()}

    assert rotation(loaded, "gemini", **plugins).quota_groups == {}
    assert rotation(loaded, "gemini_cli", **plugins).quota_groups == {"pro": ["a"]}


# --- Quota groups ------------------------------------------------------------------------


def test_a_group_is_found_by_its_spelling_in_file_and_plugin(read):
    plugin = RotationSettings(quota_groups={"25-flash": ["old"], "pro": ["p"]})
    loaded = read(
        "[providers.groq.rotation.quota_groups]\n'my.group' = ['m']\n",
        QUOTA_GROUPS_GROQ_25_FLASH="gemini-2.5-flash",
        QUOTA_GROUPS_GROQ_MY_GROUP="n",
        QUOTA_GROUPS_GROQ_NEW_ONE="x,y",
    )

    assert rotation(loaded, groq=plugin).quota_groups == {
        "25-flash": ["gemini-2.5-flash"],
        "my.group": ["n"],
        "new_one": ["x", "y"],
    }
    # Without asking the plugin the name is the environment's; it finds its group all the same.
    for found in (rotation(loaded), rotation(loaded, groq=plugin)):
        assert found.over(plugin).quota_groups["25-flash"] == ["gemini-2.5-flash"]
        assert found.over(plugin).quota_groups["pro"] == ["p"]


@pytest.mark.parametrize("dotenv", [False, True])
def test_an_empty_variable_ends_a_group(read, tmp_path, dotenv):
    plugin = RotationSettings(quota_groups={"pro": ["p"], "flash": ["f"]})
    (tmp_path / ".env").write_text("QUOTA_GROUPS_GROQ_PRO=\n" if dotenv else "")
    found = rotation(read(**({} if dotenv else {"QUOTA_GROUPS_GROQ_PRO": ""})))

    assert found.over(plugin).quota_groups == {"pro": [], "flash": ["f"]}


# --- Caps --------------------------------------------------------------------------------

CAPS = [
    ("T2_PRO", "130", [cap("PRO", "130", [2])]),
    ("T2_PRO", " -20 ", [cap("PRO", "-20", [2])]),
    ("T2_PRO", "+20", [cap("PRO", "+20", [2])]),
    ("T2_PRO", "80%", [cap("PRO", "80%", [2])]),
    ("TDEFAULT_PRO", "5", [cap("PRO", "5")]),
    ("T2_GEMINI_2_5_PRO", "5", [cap("GEMINI_2_5_PRO", "5", [2])]),
    ("T2_3_PRO", "5", [cap("PRO", "5", [2, 3]), cap("3_PRO", "5", [2])]),
    ("T2_25_FLASH", "5", [cap("FLASH", "5", [2, 25]), cap("25_FLASH", "5", [2])]),
    ("T1_4O_MINI", "5", [cap("4O_MINI", "5", [1])]),
]


@pytest.mark.parametrize(("name", "value", "caps"), CAPS, ids=[f"{n}={v}" for n, v, _ in CAPS])
def test_caps_from_the_environment(read, name, value, caps):
    assert rotation(read(**{f"CUSTOM_CAP_GROQ_{name}": value})).caps == caps


RESTS = [
    ("quota_reset", "quota_reset"),
    ("OFFSET:3600", "offset:3600"),
    ("offset:-60", "offset:-60"),
    ("fixed:9", "fixed:9"),
]


@pytest.mark.parametrize(("text", "rest"), RESTS)
def test_how_long_a_cap_cools_down(read, text, rest):
    loaded = read(CUSTOM_CAP_COOLDOWN_GROQ_T2_3_PRO=text, CUSTOM_CAP_GROQ_T2_3_PRO="5")

    assert {c.cooldown for c in rotation(loaded).caps} == {rest}


def test_a_variable_changes_the_files_cap_on_the_same_and_leaves_the_others(read):
    text = """
        [[providers.groq.rotation.caps]]
        models = "gemini-2.5-pro"
        priorities = [2]
        limit = 100
        cooldown = "fixed:5"
        [[providers.groq.rotation.caps]]
        models = "*"
        limit = "50%"
    """
    loaded = read(text, CUSTOM_CAP_GROQ_T2_GEMINI_2_5_PRO="7", CUSTOM_CAP_GROQ_TDEFAULT_FLASH="8")

    assert rotation(loaded).caps == [cap("gemini-2.5-pro", "7", [2], "fixed:5"), cap("*", "50%"), cap("FLASH", "8")]
    assert rotation(read(text)).caps == [cap("gemini-2.5-pro", "100", [2], "fixed:5"), cap("*", "50%")]


# --- What wins --------------------------------------------------------------------------

FILE = """
[providers.groq]
api_keys = ["plain", { key = "long", label = "team", tier = "pro", priority = 3 }]

[providers.groq.rotation]
selector = "sticky"
max_concurrent = 4
multipliers = { 1 = 2, 2 = 1.5 }
tiers = { pro = 1, free = 3 }
quota_groups = { big = ["a-*", "b"] }
"""


def test_nested_over_compatible_over_file_key_by_key(read):
    loaded = read(
        FILE,
        MAX_CONCURRENT_REQUESTS_PER_KEY_GROQ="5",
        OPTIMAL_CONCURRENT_REQUESTS_PER_KEY_GROQ="2",
        CONCURRENCY_MULTIPLIER_GROQ_PRIORITY_1="3",
        ROTATION_MODE_GROQ="balanced",
        PROXY_PROVIDERS__GROQ__ROTATION__MAX_CONCURRENT="6",
        PROXY_PROVIDERS__GROQ__ROTATION__QUOTA_GROUPS__SMALL="c, d",
        PROXY_PROVIDERS__GROQ__ROTATION__MULTIPLIERS__3="4",
        PROXY_PROVIDERS__GROQ__ROTATION__TIERS__PRO="2",
    )
    found = rotation(loaded)

    assert (found.selector, found.max_concurrent, found.preferred_concurrency) == ("balanced", 6, 2)
    assert found.multipliers == {1: 3, 2: 1.5, 3: 4}
    assert found.tiers == {"pro": 2, "free": 3}
    assert found.quota_groups == {"big": ["a-*", "b"], "small": ["c", "d"]}
    assert [k.tier for k in loaded.provider("groq").api_keys] == [None, "pro"]


def test_the_nested_selector_says_which_mode_counts(read):
    loaded = read(
        ROTATION_MODE_GROQ="balanced",
        PROXY_PROVIDERS__GROQ__ROTATION__SELECTOR="sequential",
        MAX_CONCURRENT_REQUESTS_PER_KEY_GROQ_SEQUENTIAL="3",
    )

    assert (rotation(loaded).selector, rotation(loaded).max_concurrent) == ("sequential", 3)


MISTAKES = [
    (
        "MAX_CONCURRENT_REQUESTS_PER_KEY_GROQ",
        "many",
        "max_concurrent: Input should be a valid integer, unable to parse string as an integer",
    ),
    ("CONCURRENCY_MULTIPLIER_GROQ_PRIORITY_1", "0", "multipliers.1: Input should be greater than 0"),
    ("FAIR_CYCLE_GROQ", "perhaps", "fair_cycle: Input should be a valid boolean, unable to interpret input"),
    ("FAIR_CYCLE_QUOTA_THRESHOLD_GROQ", "2", "fair_cycle_share: Input should be less than or equal to 1"),
    ("EXHAUSTION_COOLDOWN_THRESHOLD", "-1", "exhausted_cooldown_s: Input should be greater than or equal to 0"),
    ("FAIR_CYCLE_TRACKING_MODE_GROQ", "key", "fair_cycle_scope: Input should be 'model_group' or 'credential'"),
]


@pytest.mark.parametrize(("name", "value", "told"), MISTAKES, ids=[row[0] for row in MISTAKES])
def test_a_mistake_is_reported_in_one_line_with_its_variable(read, name, value, told):
    with pytest.raises(SettingsError) as error:
        rotation(read(**{name: value}))

    assert list(error.value.problems) == [f"providers.groq.rotation.{told} (from environment variable {name})"]


def test_a_mistake_in_a_cap_names_its_variable(read):
    text = "[[providers.groq.rotation.caps]]\nmodels = 'a'\nlimit = 1\n"
    with pytest.raises(SettingsError) as error:
        rotation(read(text, CUSTOM_CAP_GROQ_T1_B="lots", CUSTOM_CAP_COOLDOWN_GROQ_T1_B="soon"))
    limit, rest = error.value.problems

    assert limit.startswith("providers.groq.rotation.caps.1.limit: ")
    assert limit.endswith("(from environment variable CUSTOM_CAP_GROQ_T1_B)")
    assert rest.startswith("providers.groq.rotation.caps.1.cooldown: ")
    assert rest.endswith("(from environment variable CUSTOM_CAP_COOLDOWN_GROQ_T1_B)")


# --- What has no effect is said ----------------------------------------------------------


def test_names_without_meaning_here_are_reported_with_the_reason(read):
    lines = read(**dict.fromkeys(WITHOUT_EFFECT, "1")).without_effect({})

    assert lines == [f"{name} has no effect: {why}" for name, why in WITHOUT_EFFECT.items()]


def test_variables_of_no_provider_and_of_no_form_are_named(read):
    names = ["CUSTOM_CAP_GROQ_PRO", "FAIR_CYCLE_GROQQ", "MAX_CONCURRENT_REQUESTS_PER_KEY_GROQ_BALANCD"]
    loaded = read(**dict.fromkeys([*names, "FAIR_CYCLE_GROQ"], "1"))

    assert loaded.without_effect({"groq": RotationSettings()}) == [
        f"{name} is not used: no provider or setting has that name" for name in names
    ]


def test_variables_for_another_mode_and_cooldowns_without_a_cap_are_reported(read):
    loaded = read(SEQUENTIAL_FALLBACK_MULTIPLIER_GROQ="2", CUSTOM_CAP_COOLDOWN_GROQ_T1_A="fixed:1")

    assert loaded.without_effect({"groq": RotationSettings()}) == [
        "CUSTOM_CAP_COOLDOWN_GROQ_T1_A has no effect: there is no cap with this target",
        "SEQUENTIAL_FALLBACK_MULTIPLIER_GROQ has no effect: groq uses the selector balanced",
    ]
    assert loaded.without_effect({"groq": RotationSettings(selector="sequential")}) == [
        "CUSTOM_CAP_COOLDOWN_GROQ_T1_A has no effect: there is no cap with this target"
    ]


def test_nothing_is_reported_if_all_settings_have_an_effect(read):
    names = {row[1]: row[2] for row in NAMES if row[1] != "ROTATION_MODE_GROQ"}

    assert read("[routing]\nselector='sequential'", **names).without_effect({"groq": RotationSettings()}) == []


# --- With and without the package ---------------------------------------------------------


def test_the_environment_over_dotenv_over_the_file(tmp_path, read):
    (tmp_path / ".env").write_text("TIMEOUT_READ_STREAMING=2\nTIMEOUT_CONNECT=2\nTIMEOUT_WRITE=2\n")
    text = "[timeouts]\nidle_s = 1\nconnect_s = 1\nwrite_s = 1\npool_s = 1\n"
    timeouts = read(text, TIMEOUT_READ_STREAMING="3", TIMEOUT_CONNECT="3", TIMEOUT_WRITE="").settings.timeouts

    assert (timeouts.idle_s, timeouts.connect_s, timeouts.write_s, timeouts.pool_s) == (3, 3, 2, 1)
    assert timeouts.first_event_s == 600


def test_a_mistake_names_the_variable_and_all_are_reported(read):
    with pytest.raises(SettingsError) as caught:
        read("[server]\nprot = 1\n", TIMEOUT_POOL="-1")

    problems = "\n".join(caught.value.problems)
    assert "timeouts.pool_s: Input should be greater than 0 (from environment variable TIMEOUT_POOL)" in problems
    assert "server.prot" in problems


def test_the_debug_log_is_not_taken_for_a_misspelled_setting(read):
    assert read(PROXY_DEBUG_LOG="true", PROXY_DEBUG_LGO="true").sources.stray() == ["PROXY_DEBUG_LGO"]


@pytest.mark.parametrize("text", ["[plugins]\ndisabled = ['mirrowel']\n", "[plugins]\nallowed = ['redis']\n"])
def test_settings_may_keep_the_names_out_and_one_line_says_what_is_not_used(read, text):
    names = {"MAX_CONCURRENT_REQUESTS_PER_KEY_GROQ": "5", "TIMEOUT_CONNECT": "3", "GROQ_MODELS": "a"}
    loaded = read(text, **names)

    assert loaded.settings.timeouts.connect_s != 3
    assert rotation(loaded) == RotationSettings()
    assert loaded.without_effect({"groq": RotationSettings()}) == [
        "MAX_CONCURRENT_REQUESTS_PER_KEY_GROQ and 1 more will be used only with proxy-plugin-mirrowel: "
        "`pip install proxy-plugin-mirrowel`, or enable it"
    ]


def test_every_name_is_known_to_the_core_so_that_it_can_name_this_package(read):
    forms = [
        *PROXY_NAMES,
        "OVERRIDE_TEMPERATURE_ZERO",
        *WITHOUT_EFFECT,
        *ROTATION_NAMES,
        "IGNORE_MODELS_<NAME>",
        "WHITELIST_MODELS_<NAME>",
    ]
    names = [re.sub(r"\[.*\]", "", form).replace("<NAME>", "GROQ").replace("<", "").replace(">", "") for form in forms]

    for name in names:
        [line] = read("[plugins]\ndisabled = ['mirrowel']\n", **{name: "1"}).without_effect({})
        assert line.startswith(f"{name} will be used only with proxy-plugin-mirrowel")


#: Every variable of the old proxy, with a value that it may have; `HOUSE` and `GROQ` stand for its providers.
OLD_NAMES = {
    **{"OVERRIDE_TEMPERATURE_ZERO": "set", "SUPPRESS_LITELLM_SERIALIZATION_WARNINGS": "1", "HOUSE_OAUTH_1": "x.json"},
    **{"SKIP_OAUTH_INIT_CHECK": "true", "OAUTH_REFRESH_INTERVAL": "600", "HOUSE_MODELS": "a,b"},
    **{"HOUSE_API_BASE": "http://127.0.0.1:9/v1", "HOUSE_API_KEY": "k" * 20, "HOUSE_API_KEY_WORK": "l" * 20},
    **{"IGNORE_MODELS_HOUSE": "a*", "WHITELIST_MODELS_HOUSE": "ab", "MODEL_INFO_REFRESH_INTERVAL": "21600"},
    **{"IGNORE_MODELS_NOBODY": "a*", "WHITELIST_MODELS_NOBODY": "ab", "NOBODY_MODELS": "a"},
    **{"ROTATION_MODE_HOUSE": "sequential", "ROTATION_MODE_NOBODY": "balanced", "ROTATION_TOLERANCE": "3"},
    **{f"{most}_CONCURRENT_REQUESTS_PER_KEY_HOUSE": "2" for most in ("MAX", "OPTIMAL")},
    **{f"{most}_CONCURRENT_REQUESTS_PER_KEY_HOUSE_BALANCED": "2" for most in ("MAX", "OPTIMAL")},
    **{"CONCURRENCY_MULTIPLIER_HOUSE_PRIORITY_1": "2", "SEQUENTIAL_FALLBACK_MULTIPLIER_HOUSE": "2"},
    **{"FAIR_CYCLE_HOUSE": "true", "FAIR_CYCLE_TRACKING_MODE_HOUSE": "credential"},
    **{
        "FAIR_CYCLE_CROSS_TIER_HOUSE": "true",
        "FAIR_CYCLE_DURATION_HOUSE": "60",
        "FAIR_CYCLE_QUOTA_THRESHOLD_HOUSE": "1",
    },
    **{"FAIR_CYCLE_RESET_COOLDOWN_THRESHOLD_HOUSE": "9", "EXHAUSTION_COOLDOWN_THRESHOLD_HOUSE": "9"},
    **{
        "QUOTA_GROUPS_HOUSE_BIG": "a,b",
        "CUSTOM_CAP_HOUSE_T2_BIG": "80%",
        "CUSTOM_CAP_COOLDOWN_HOUSE_T2_BIG": "fixed:9",
    },
    **{"GLOBAL_TIMEOUT": "30", "TRANSIENT_RETRY_DELAY": "1", "TRANSIENT_RETRY_JITTER": "0.5"},
    **{"SMALL_COOLDOWN_RETRY_THRESHOLD": "10", "STREAM_RETRY_ON_REASONING_ONLY": "false"},
    **{f"TIMEOUT_{name}": "30" for name in ("CONNECT", "WRITE", "POOL", "READ_STREAMING", "READ_NON_STREAMING")},
    **{f"{name}_QUOTA_REFRESH_INTERVAL": "300" for name in ("CHUTES", "NANOGPT", "FIRMWARE")},
    **{f"DEEPSEEK_REASONING_CACHE_{name}": "60" for name in ("TTL", "DISK_TTL")},
    **{f"GEMINI_CLI_{name}": "1" for name in ("GEMINI3_TOOL_FIX", "UA_VERSION", "GL_NODE_VERSION", "PLATFORM_ARCH")},
    **{f"GEMINI_CLI_{name}": "1" for name in ("PRESERVE_THOUGHT_SIGNATURES", "ENABLE_JSON_STRING_PARSING")},
    **{"PROXY_API_KEY": "c" * 20},
}


def test_every_name_of_the_old_proxy_is_used_or_reported(tmp_path):
    (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in OLD_NAMES.items()))
    loaded = load(environ={}, cwd=tmp_path)
    plugins = {"house": RotationSettings()}
    reported = " ".join(line for line in loaded.without_effect(plugins))
    used = " ".join([*loaded.named_origins("house", plugins).values(), *loaded.sources.named.origins.values()])
    used += " ".join(str(variable) for variable in loaded.sources.key_variables("house"))
    of_plugin = [name for names in MirrowelSettings.variables.values() for name in names]

    silent = [name for name in OLD_NAMES if not re.search(rf"\b{name}\b", used + reported) and name not in of_plugin]

    assert silent == []
    assert "HOUSE_API_KEY_WORK is not used" in reported
    assert "HOUSE_OAUTH_1 is not read" in reported


def test_only_variables_from_files_are_taken_for_misnamed_keys_and_lists(read):
    loaded = read(HOUSE_API_KEY_PATH="x", HOUSE_API_KEY_WORK="x", NOBODY_MODELS="x")

    assert loaded.without_effect({"house": RotationSettings()}) == []

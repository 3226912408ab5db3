"""How credentials are spent: the settings, the names of the replaced system, and how layers become one."""

import pytest

from proxy_core import SettingsError
from proxy_core.settings.legacy_env import WITHOUT_EFFECT
from proxy_core.settings.legacy_rotation_env import ROTATION_NAMES
from proxy_core.settings.loading import load
from proxy_core.settings.rotation import CapSettings, RotationSettings


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
    return CapSettings(models=on, limit=limit, priorities=list(priorities), cooldown=cooldown)


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


COVERED = [
    ("*", "anything", True),
    ("gemini-*", "gemini-2.5-pro", True),
    ("gemini-*", "pro", False),
    ("GEMINI_2_5_PRO", "gemini-2.5-pro", True),
    ("QWEN3_32B", "qwen/qwen3-32b", True),
    ("QWEN_QWEN3_32B", "qwen/qwen3-32b", True),
    ("25_FLASH", "25-flash", True),
    ("FLASH", "25-flash", False),
    ("qwen3-32b", "qwen/qwen3-32b", False),
]


@pytest.mark.parametrize(("on", "name", "covered"), COVERED)
def test_what_a_cap_is_on(on, name, covered):
    assert cap(on, 1).covers(name) is covered


def test_a_cap_for_a_priority_is_meant_instead_of_one_for_all():
    everybody, second = cap("pro", 10), cap("p*", 5, [2, 3])
    found = RotationSettings(caps=[everybody, second])

    assert found.caps_for("pro", 1) == [everybody]
    assert found.caps_for("pro", 2) == [second]
    assert found.caps_for("palm", 2) == [second]
    assert found.caps_for("flash", 2) == []


# --- The file, and what wins -------------------------------------------------------------

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


def test_the_files_form(read):
    groq = read(FILE).provider("groq")
    keys = [(k.key.get_secret_value(), k.label, k.tier, k.priority) for k in groq.api_keys]

    assert keys == [("plain", None, None, None), ("long", "team", "pro", 3)]
    assert groq.rotation == RotationSettings(
        selector="sticky",
        max_concurrent=4,
        multipliers={1: 2, 2: 1.5},
        tiers={"pro": 1, "free": 3},
        quota_groups={"big": ["a-*", "b"]},
    )


def test_keys_may_be_long_in_the_environment_too(read):
    text = '[{"key": "k", "tier": "free"}, "plain"]'
    keys = read(PROXY_PROVIDERS__GROQ__API_KEYS=text).provider("groq").api_keys

    assert [(k.key.get_secret_value(), k.tier) for k in keys] == [("k", "free"), ("plain", None)]


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


def test_a_nested_name_of_a_provider_beats_its_compatible_one(read):
    loaded = read(GROQ_API_BASE="http://127.0.0.1:1/v1", PROXY_PROVIDERS__GROQ__BASE_URL="http://127.0.0.1:2/v1")

    assert str(loaded.provider("groq").base_url) == "http://127.0.0.1:2/v1"


def test_the_nested_selector_says_which_mode_counts(read):
    loaded = read(
        ROTATION_MODE_GROQ="balanced",
        PROXY_PROVIDERS__GROQ__ROTATION__SELECTOR="sequential",
        MAX_CONCURRENT_REQUESTS_PER_KEY_GROQ_SEQUENTIAL="3",
    )

    assert (rotation(loaded).selector, rotation(loaded).max_concurrent) == ("sequential", 3)


def test_what_is_said_goes_over_what_the_plugin_has():
    plugin = RotationSettings(
        selector="sequential",
        max_concurrent=2,
        tiers={"pro": 1},
        multipliers={1: 2},
        caps=[cap("a", 1)],
        quota_window_s=60,
    )
    said = RotationSettings(max_concurrent=None, tiers={"free": 3}, multipliers={2: 3}, caps=[])
    found = said.over(plugin)

    assert found == RotationSettings(
        selector="sequential",
        max_concurrent=None,
        tiers={"pro": 1, "free": 3},
        multipliers={1: 2, 2: 3},
        caps=[],
        quota_window_s=60,
    )
    assert found.over(plugin) == found
    assert RotationSettings().over(plugin) == plugin
    assert plugin.over(RotationSettings()) == plugin


# --- Mistakes ----------------------------------------------------------------------------

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


FILE_MISTAKES = [
    ("[providers.groq.rotation]\nmax_conc = 1\n", "max_conc: no such setting"),
    ("[[providers.groq.rotation.caps]]\nmodels = 'a'\n", "caps.0.limit: Field required"),
    ("[[providers.groq.rotation.caps]]\nlimit = 'much'\n", "caps.0.limit: String should match pattern"),
    ("[providers.groq.rotation.multipliers]\nfirst = 1\n", "multipliers.first"),
]


@pytest.mark.parametrize(("text", "told"), FILE_MISTAKES)
def test_a_mistake_in_the_file_names_the_file(read, text, told):
    with pytest.raises(SettingsError) as error:
        read(text)
    (line,) = error.value.problems

    assert line.startswith(f"providers.groq.rotation.{told}")
    assert line.endswith("proxy-core.toml)")


@pytest.mark.parametrize("key", ["api_keys", "rotation__caps"])
def test_invalid_json_is_reported_without_its_value(read, key):
    with pytest.raises(SettingsError) as error:
        read(**{f"PROXY_PROVIDERS__GROQ__{key.upper()}": '[{"key": "sk-secret"'})

    assert "sk-secret" not in str(error.value.problems)


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

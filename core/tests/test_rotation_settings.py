"""How credentials are spent: the settings, and how layers become one."""

import pytest

from proxy_core import SettingsError
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


def test_a_nested_name_of_a_provider_beats_its_compatible_one(read):
    loaded = read(GROQ_API_BASE="http://127.0.0.1:1/v1", PROXY_PROVIDERS__GROQ__BASE_URL="http://127.0.0.1:2/v1")

    assert str(loaded.provider("groq").base_url) == "http://127.0.0.1:2/v1"


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

"""Some models loop at temperature 0: leave the field out, or send 1.0."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field

from proxy_core import PluginSettings, ProxyRequest, Sanitizer


def _action(value: object) -> object:
    """The spellings that Mirrowel's variable has."""
    word = str(value).strip().lower()
    return {"false": "keep", "0": "keep", "no": "keep", "true": "set", "1": "set", "yes": "set"}.get(word, word)


class MirrowelSettings(PluginSettings):
    """``[plugins.mirrowel]``."""

    variables: ClassVar = {"temperature_zero": ("OVERRIDE_TEMPERATURE_ZERO",)}
    temperature_zero: Annotated[Literal["keep", "remove", "set"], BeforeValidator(_action)] = Field(
        "keep", description="What to do with temperature 0; ``set`` sends 1.0."
    )


def temperature_zero(action: Literal["remove", "set"]) -> Sanitizer:
    def repair(request: ProxyRequest) -> ProxyRequest:
        temperature = request.body.get("temperature")
        if isinstance(temperature, bool) or temperature != 0:
            return request
        rest = {name: value for name, value in request.body.items() if name != "temperature"}
        return request.with_body(rest if action == "remove" else {**rest, "temperature": 1.0})

    return Sanitizer(name="temperature_zero", rank=-900, request=repair)

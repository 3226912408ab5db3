"""``[plugins.qwen_code]``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, HttpUrl

from proxy_core import PluginSettings

Plan = Literal["auto", "coding_plan", "token_plan", "model_studio"]
Region = Literal["china", "international", "us", "hongkong"]


class QwenCodeSettings(PluginSettings):
    """``[plugins.qwen_code]``; ``PROXY_PLUGINS__QWEN_CODE__<KEY>`` wins over the file."""

    plan: Plan = Field(
        "auto", description="What keys without a tier are for; auto: `sk-sp-` is the Coding Plan, else Model Studio."
    )
    region: Region = Field(
        "international", description="Where keys without a tier were made; the plans know only China and the rest."
    )
    user_agent: str | None = Field(
        None, pattern=r"^[ -~]{1,200}$", description="What chat requests call themselves, instead of the proxy's name."
    )
    client_id: str | None = Field(
        None,
        pattern=r"^[!-~]{1,200}$",
        description="OAuth client of logins; unset: that of the installed Qwen Code.",
    )
    device_url: HttpUrl = Field(
        HttpUrl("https://chat.qwen.ai/api/v1/oauth2/device/code"), description="Where a login asks for its code."
    )
    token_url: HttpUrl = Field(
        HttpUrl("https://chat.qwen.ai/api/v1/oauth2/token"), description="Where tokens are had and renewed."
    )
    chat_url: HttpUrl | None = Field(
        None, description="Base URL for logins, version included; unset: what the token server named."
    )
    refresh_margin_s: float = Field(600, ge=30, le=1800, description="Renew a token this long before its end.")
    base_is_dashscope: bool = Field(
        False, description="`QWEN_CODE_API_BASE` leads to DashScope itself: send its own headers and fields there, too."
    )
    cache_control: bool = Field(True, description="Mark prompts for the vendor's cache where the client marked none.")
    dummy_tool: bool = Field(
        True, description="Logins: offer `coder-model` a tool never to be called where there is none."
    )
    think_tags: bool = Field(True, description="Read `<think>` in an answer's text as reasoning where there was none.")

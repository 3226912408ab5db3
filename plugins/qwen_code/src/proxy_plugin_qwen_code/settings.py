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
        "auto",
        description="Plan of keys without a tier; `auto`: Coding Plan for `sk-sp-` keys, otherwise Model Studio.",
    )
    region: Region = Field(
        "international",
        description="Region of keys without a tier; the plans distinguish only China and international.",
    )
    user_agent: str | None = Field(
        None, pattern=r"^[ -~]{1,200}$", description="`User-Agent` of chat requests, instead of the proxy's name."
    )
    client_id: str | None = Field(
        None,
        pattern=r"^[!-~]{1,200}$",
        description="OAuth client id for logins; unset: that of the installed Qwen Code.",
    )
    device_url: HttpUrl = Field(
        HttpUrl("https://chat.qwen.ai/api/v1/oauth2/device/code"), description="Device authorization endpoint."
    )
    token_url: HttpUrl = Field(HttpUrl("https://chat.qwen.ai/api/v1/oauth2/token"), description="Token endpoint.")
    chat_url: HttpUrl | None = Field(
        None, description="Base URL for logins, including the version; unset: the one that the token server names."
    )
    refresh_margin_s: float = Field(
        600, ge=30, le=1800, description="Refresh a token this many seconds before it expires."
    )
    base_is_dashscope: bool = Field(
        False, description="`QWEN_CODE_API_BASE` is DashScope itself: send its specific headers and fields there too."
    )
    cache_control: bool = Field(True, description="Add marks for the vendor's prompt cache if the client set none.")
    dummy_tool: bool = Field(
        True, description="For logins: give `coder-model` a tool that it must never call if the request has no tools."
    )
    think_tags: bool = Field(
        True, description="Treat `<think>` in a response's text as reasoning if the response has no reasoning."
    )

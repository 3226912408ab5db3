"""How long the vendor's offers last; qwen-code.md section 0, as of November 2026."""

from __future__ import annotations

from datetime import date

from proxy_core import Lifecycle

LOGINS_ENDED = date(2026, 4, 15)
LINK = "https://github.com/QwenLM/qwen-code/pull/3210"

DISCONTINUED = f"Qwen OAuth free tier was discontinued on {LOGINS_ENDED}; use a Coding Plan or DashScope key"
NOTICE = (
    f"{DISCONTINUED}. Since the following day, its host answers 401 even to tokens refreshed seconds earlier; Qwen Code"
    " itself labels this login discontinued. Continue only if your account still works, or for your own deployment that"
    " speaks the same protocol. Using it from programs other than Qwen Code may violate the vendor's terms."
)
#: Has no ``until``, because no end date is known for the rest.
LIFECYCLE = Lifecycle(
    status="limited",
    note=f"Keys for Coding Plan, Token Plan and Model Studio are supported; logins ended on {LOGINS_ENDED}.",
    link=LINK,
)

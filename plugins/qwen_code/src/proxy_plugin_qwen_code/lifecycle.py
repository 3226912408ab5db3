"""What can be counted on, and until when; qwen-code.md section 0, as of November 2026."""

from __future__ import annotations

from datetime import date

from proxy_core import Lifecycle

LOGINS_ENDED = date(2026, 4, 15)
LINK = "https://github.com/QwenLM/qwen-code/pull/3210"

DISCONTINUED = f"Qwen OAuth free tier was discontinued on {LOGINS_ENDED}; use a Coding Plan or DashScope key"
NOTICE = (
    f"{DISCONTINUED}. Since the day after, its host answers 401 even to tokens renewed seconds before; Qwen Code calls"
    " the choice discontinued. Go on only if your account was kept, or for a deployment of your own that speaks the"
    " same protocol. Using it from other programs than Qwen Code may be against the vendor's terms."
)
#: Without ``until``: nothing of it will end on a day that is known.
LIFECYCLE = Lifecycle(
    status="limited",
    note=f"Keys of Coding Plan, Token Plan and Model Studio are current; logins ended on {LOGINS_ENDED}.",
    link=LINK,
)

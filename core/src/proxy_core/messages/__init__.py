"""The neutral model of conversations, responses and upstream requests, independent of any vendor.

Dialects decode into these values and encode from them. Anything in a wire format for which these
values have no field is kept in ``extra``, so that the same dialect can restore it.
"""

from proxy_core.messages.content import *
from proxy_core.messages.events import *
from proxy_core.messages.json_types import *
from proxy_core.messages.reprs import *
from proxy_core.messages.requests import *
from proxy_core.messages.sealed import *
from proxy_core.messages.stash import *
from proxy_core.messages.upstream import *

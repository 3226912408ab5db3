"""The values that the core and plugins exchange: frozen and named.

A plugin's hooks return these; the core keeps them and calls the functions in them.
The core does all I/O with providers: encoders, decoders and failure classifiers are pure.
"""

from proxy_core.interfaces.credentials import *
from proxy_core.interfaces.dialects import *
from proxy_core.interfaces.models import *
from proxy_core.interfaces.operations import *
from proxy_core.interfaces.pages import *
from proxy_core.interfaces.plugins import *
from proxy_core.interfaces.providers import *
from proxy_core.interfaces.records import *
from proxy_core.interfaces.requests import *
from proxy_core.interfaces.servers import *
from proxy_core.interfaces.state import *
from proxy_core.interfaces.status import *

"""What goes wrong with upstreams, as data. The conformance kit plays it to providers, a command to gateways."""

from proxy_core.testing.faults.catalogue import FAULTS as FAULTS
from proxy_core.testing.faults.fault import Fault as Fault
from proxy_core.testing.faults.fault import Scene as Scene
from proxy_core.testing.faults.fault import Stage as Stage
from proxy_core.testing.faults.seen import Seen as Seen
from proxy_core.testing.faults.seen import seen as seen
from proxy_core.testing.faults.wire import OPENAI as OPENAI
from proxy_core.testing.faults.wire import Wire as Wire

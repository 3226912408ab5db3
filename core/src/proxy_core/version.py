"""Who we are, to upstreams and users."""

from importlib import metadata

try:
    VERSION = metadata.version("proxy-core")
except metadata.PackageNotFoundError:  # a source tree that was never installed
    VERSION = "0"

#: Our own name, never a vendor's client's.
USER_AGENT = f"proxy-core/{VERSION}"

"""The program's name and version, for upstreams and users."""

from importlib import metadata

try:
    VERSION = metadata.version("proxy-core")
except metadata.PackageNotFoundError:  # a source tree that was never installed
    VERSION = "0"

#: Our own name, never that of a vendor's client.
USER_AGENT = f"proxy-core/{VERSION}"

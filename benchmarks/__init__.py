"""How fast the proxy is, against the same stack with nothing in it; and how it bears faults."""

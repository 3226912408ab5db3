"""How fast the proxy is, against the same stack with nothing in it. Run ``python -m benchmarks``."""

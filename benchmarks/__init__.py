"""Benchmarks: how fast the proxy is compared with a bare relay on the same stack, and how it handles faults."""

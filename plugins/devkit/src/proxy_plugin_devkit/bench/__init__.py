"""Compare the speed, memory and startup time of proxy-core with those of a bare relay on the same libraries."""

"""Speed, memory and start of proxy-core against a bare relay on the same libraries."""

"""The status of a running process: ``counters`` and ``plugin_times`` count, ``view`` reads it on demand."""

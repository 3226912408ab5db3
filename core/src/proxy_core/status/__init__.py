"""The status of a running process: ``counters`` counts, ``view`` reads it on demand."""

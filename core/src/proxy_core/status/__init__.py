"""What a running process says about itself: ``counters`` and ``plugin_times`` count, ``view`` reads it on demand."""

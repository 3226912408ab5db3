"""Counting for ``/metrics``: plain numbers in memory, read when somebody asks.

``families`` says what there is, ``count`` counts finished requests, ``timed`` measures plugins,
``gauges`` looks at what is now, ``page`` writes it all down with Prometheus's own library.
"""

"""``proxy-core plugin new``: a distribution whose tests pass before its author has written a line.

``templates/`` has a working plugin of each kind, named ``example``, and its tests; a new one is a copy with another
name.
"""

"""One plugin of each kind. Their names contain ``example``, which is replaced."""

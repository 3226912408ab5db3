"""Credential selection, in memory: which credential is next, how much quota is used, which ones are cooling down."""

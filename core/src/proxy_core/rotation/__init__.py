"""Credential selection, in memory: who goes next, what is used up, what is cooling down."""

"""Credentials: who is usable now, who goes next, who rests."""

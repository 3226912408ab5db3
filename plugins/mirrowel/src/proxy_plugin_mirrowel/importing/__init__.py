"""``proxy-core import mirrowel``: what a folder of that proxy holds, and where each line of it belongs here."""

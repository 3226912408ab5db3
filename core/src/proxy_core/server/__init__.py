"""Starlette and Hypercorn: the client's side."""

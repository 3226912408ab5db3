"""Composition: builds a running proxy from settings, and replaces it on a reload."""

from proxy_core.runtime.start import create_app

__all__ = ["create_app"]

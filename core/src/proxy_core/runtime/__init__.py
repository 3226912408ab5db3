"""Composition: settings become a running proxy, and a reload replaces it."""

from proxy_core.runtime.start import create_app

__all__ = ["create_app"]

"""A fake Google for tests: :class:`FakeGoogle` on a real socket, with accounts, tokens and Code Assist.

Model responses and errors are in ``proxy_plugin_gemini.testing``.
"""

from proxy_plugin_gemini_cli.testing.google import LOADS, PROJECT, REFUSALS, Account, Bucket, FakeGoogle

__all__ = ["LOADS", "PROJECT", "REFUSALS", "Account", "Bucket", "FakeGoogle"]

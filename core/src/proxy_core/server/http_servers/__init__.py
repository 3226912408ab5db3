"""The HTTP servers that can run a proxy. Each is a module with the same two functions, imported only if it is chosen.

A server accepts connections, speaks HTTP and calls the application. Signals, workers, what a graceful shutdown
means and the limits are the proxy's own (``server/serve.py``), and thus the same under each.
"""

pytest_plugins = ["proxy_core.testing.fixtures"]

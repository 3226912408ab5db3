"""HTTP for clients and the operator, with Starlette and an HTTP server."""

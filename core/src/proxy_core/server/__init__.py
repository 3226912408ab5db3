"""HTTP for clients, with Starlette and Hypercorn."""

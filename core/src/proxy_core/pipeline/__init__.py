"""The path of one request: sanitizers, attempts, translation, the response."""

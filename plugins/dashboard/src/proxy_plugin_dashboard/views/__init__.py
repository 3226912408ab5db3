"""One module per page: pure functions from status values to what its template shows, and its actions."""

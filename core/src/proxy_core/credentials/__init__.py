"""Credentials on disk: logins and their files, locks, and token refresh."""

"""Credentials on disk: logins, their files, their locks, and the refresh of their tokens."""

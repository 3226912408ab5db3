"""The program log and request records, and the redaction of both."""

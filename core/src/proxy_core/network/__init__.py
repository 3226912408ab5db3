"""Every outbound connection."""

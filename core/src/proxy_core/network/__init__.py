"""Every outbound socket."""

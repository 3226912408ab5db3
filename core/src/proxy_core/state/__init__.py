"""What survives a restart, and what several processes share: the built-in stores."""

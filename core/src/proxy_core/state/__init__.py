"""State that survives a restart and that several processes share, and the built-in stores."""

"""Plugin discovery, and what each plugin provides."""

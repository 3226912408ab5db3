"""All settings, and their sources: the settings file, environment variables, and legacy variable names."""

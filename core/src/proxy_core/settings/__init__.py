"""What can be set, and where it comes from: files, variables, Mirrowel's names."""

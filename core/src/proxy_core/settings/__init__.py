"""What can be set, and where it comes from: files, variables, and the names of the program it follows."""

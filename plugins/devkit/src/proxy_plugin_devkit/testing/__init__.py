"""Commands that run the testing kit of the core."""

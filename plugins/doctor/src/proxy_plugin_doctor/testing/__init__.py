"""What runs the testing kit of the core."""

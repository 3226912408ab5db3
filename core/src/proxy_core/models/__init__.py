"""What is known about models: who serves them, their limits, their prices."""

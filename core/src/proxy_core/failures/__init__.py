"""What an upstream's failure means: who is at fault, what to try next, what cools down and until when."""

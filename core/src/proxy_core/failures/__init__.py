"""Maps an upstream's failure to a decision: who is at fault, what to try next, what cools down and until when."""

"""Maps an upstream's failure to a decision: which side must act, what to try next, what cools down and until when."""

"""Model metadata: who serves a model, its limits, its price."""

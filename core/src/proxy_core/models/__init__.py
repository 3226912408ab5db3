"""Model metadata: which deployments serve a model, its limits and its prices."""

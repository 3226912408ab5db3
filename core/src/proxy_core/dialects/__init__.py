"""Wire formats, one pure module each, both directions. None imports another."""

"""Deliberate breaks of the package, and what makes them."""

"""Generators of documentation and stored test output; run from a checkout, never installed."""

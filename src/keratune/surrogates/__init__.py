"""Surrogates: what model-based algorithms make of a history, and how they search it."""

"""Who runs trials: the worker loop."""

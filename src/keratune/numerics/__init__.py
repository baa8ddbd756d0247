"""Plain numerical building blocks: NumPy and SciPy, no type of keratune's."""

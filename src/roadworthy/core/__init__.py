"""The shared words. Imports NumPy and the standard library, nothing else."""

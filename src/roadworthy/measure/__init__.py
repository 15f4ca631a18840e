"""Fair timing on noisy machines."""

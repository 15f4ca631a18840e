"""PyTorch: not an engine to ship, but what every engine is compared with."""

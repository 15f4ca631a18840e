"""PyTorch sources. The only folder here that imports torch."""

"""A model and its Reference come in."""

"""Guarded transforms of the graph: one a file, rolled back if the answers change."""

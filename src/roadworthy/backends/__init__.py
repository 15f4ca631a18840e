"""Compile networks and run them; one folder each."""

"""Preprocessing, tasks and drawing for images."""

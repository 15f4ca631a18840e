"""The road, as visible lines."""

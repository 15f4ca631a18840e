"""From a trained network to a fast engine, with proof that its answers are still right."""

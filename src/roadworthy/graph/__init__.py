"""Questions to a graph. Only `shapes.py` changes one: it states what follows from its inputs."""

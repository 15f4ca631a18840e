"""What ships: one folder or zip file with digests of everything in it."""

"""What the admin's templates load."""

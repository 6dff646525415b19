"""What the rows of a call add up to: the time without a stream, what went wrong, and the facts that lists show."""

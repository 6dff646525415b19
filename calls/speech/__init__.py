"""What callers and we say, as words: transcribers, and who gives them the lanes of a stream while it runs."""

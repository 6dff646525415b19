"""Rules over many calls, and who is told when one is broken, and when it is over."""

"""The tests: a file for each module or behaviour; what they share is in `support`, what is run by hand in `trials`."""

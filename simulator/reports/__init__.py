"""What `python -m simulator run` tells of its calls: on the terminal, as JUnit, as JSON, and as a page."""

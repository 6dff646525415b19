"""The same that staff see, as JSON for programs: read only."""

"""The live streams of this process, and what keeps track of calls that run."""

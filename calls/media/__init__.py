"""A call's audio, messages and rows in memory: no Django, no I/O, no event loop."""

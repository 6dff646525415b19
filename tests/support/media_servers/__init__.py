"""Media Streams servers as people write them, one a framework: right, and each wrong in one way if it is asked to be.

They all do the same. They check signatures; a socket has to start with a call that they answered; they greet, say back
what the caller has said, and stop talking when the caller interrupts.
"""

"""A short way for media through the two servers, around what their WebSocket libraries do with every frame.

A whole, unfragmented text of 126 to 65,535 bytes is what Twilio's media messages are, and what 99 of 100 messages of a
call are. Those are unmasked and framed here in one step each; everything else, from the handshake to pings, closes,
fragments and illegal frames, stays the library's. docs/performance.md has what that brings.

It goes through what the servers and their libraries do not promise to keep: contract.py looks whether it is there.
"""

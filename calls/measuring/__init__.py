"""What a conversation was like, measured in its recording: who spoke when, and what the caller waited for.

docs/measuring.md says what is measured, and how exactly.
"""

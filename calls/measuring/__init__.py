"""What a conversation was like, measured in its recording: who spoke when, and what the caller waited for."""

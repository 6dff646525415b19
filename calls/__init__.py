"""Answers phone calls over Twilio Media Streams, records both sides, and keeps every call in Django admin."""

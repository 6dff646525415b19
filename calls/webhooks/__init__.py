"""How Twilio's webhooks are answered: the request checked and read, what it says kept, its TwiML made.

The views themselves are in calls/views.py.
"""

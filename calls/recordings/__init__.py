"""Recordings that are stored: read back as sound, verified, exported and erased."""

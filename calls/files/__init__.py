"""A call's recording as a file over HTTP, and the record of who was sent which part of it."""

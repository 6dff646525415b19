"""Supervision of live calls: who follows which call, what they hear of it, and what they do to it, from any process.

Three parts, in one process or in two: a page in a browser (`pages`) follows calls through its own process
(`followers`); the process that holds a call tells of it (`audience`) and does what is asked of it (`acts`,
calls.server.control). Without a follower none of it is at work.

The list of all running calls has two of its own: what each process tells of its calls once a second (`meters`), and who
watches (`watchers`, `list_page`).
"""

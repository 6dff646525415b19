"""Your own handlers: a module each, named in STREAM_HANDLERS as name=handlers.module.coroutine.

This folder is on the path in development and in the image. What your modules import beside Callstream's own packages
goes into requirements.txt beside this file, a line each; both install it.
"""

"""How many calls one core carries: real servers, a load generator in C, and the peers that others would build on.

`manage.py bench_streams` runs it. Nothing else imports this package; it needs Linux, a C compiler and two cores.
"""

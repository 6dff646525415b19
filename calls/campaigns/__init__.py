"""Bulk calling: a file of numbers, called one after the other by a process of `manage.py place_calls`.

`numbers_file` reads it, `quiet` knows when whom may be called, `claiming` takes the next row, `running` is the process'
loop, `verdicts` says what becomes of a row that was refused, and `results` is what there is to take away.
"""

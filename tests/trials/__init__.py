"""Trials that take minutes, run by hand: what is lost by faults, what attackers do, what a fuzzer finds."""

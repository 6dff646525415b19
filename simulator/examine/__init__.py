"""Examines a server that takes Media Streams: `results = await examine(Target(voice_url=…, auth_token=…))`.

Probes do something to the server and write down what happened; checks judge what was written down. So a check can be
wrong about nothing but its judgement, and what it says is proved by what went over the wire. What depends on what a
server is for (it may say nothing, and send no marks) is not tested where the server gives no occasion to.
"""

from simulator.examine.battery import CHECKS, Examination, examine
from simulator.examine.target import Target
from simulator.examine.verdicts import Check, Judgement, Result, Verdict


__all__ = ["CHECKS", "Check", "Examination", "Judgement", "Result", "Target", "Verdict", "examine"]

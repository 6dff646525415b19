"""What this installation counts, for Prometheus: rooms above count, and whoever is asked tells it of all its processes.

Names and meanings are in docs/operations.md. Nothing is counted frame by frame: what a stream counts anyway is added
here every two seconds and at its end.
"""

from calls.metrics.definitions import Refusal as Refusal
from calls.metrics.definitions import chore_rounds as chore_rounds
from calls.metrics.definitions import count_call as count_call
from calls.metrics.definitions import dropped_bytes as dropped_bytes
from calls.metrics.definitions import first_audio as first_audio
from calls.metrics.definitions import frames as frames
from calls.metrics.definitions import frames_missing as frames_missing
from calls.metrics.definitions import frames_rejected as frames_rejected
from calls.metrics.definitions import handler_overruns as handler_overruns
from calls.metrics.definitions import loop_delay as loop_delay
from calls.metrics.definitions import refuse as refuse
from calls.metrics.definitions import registry as registry
from calls.metrics.definitions import response as response
from calls.metrics.definitions import webhook as webhook
from calls.metrics.sharing import figures as figures

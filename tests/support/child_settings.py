"""The settings of servers that the fault tests start: the real ones, and addresses and handlers that misbehave."""

from config.settings import *  # noqa: F403


ROOT_URLCONF = "tests.support.child"

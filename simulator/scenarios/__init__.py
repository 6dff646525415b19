"""Scenarios that are written down in YAML: `for scenario in load(path): report = await play(scenario)`.

docs/scenarios.md has every key. The verdict of each expectation is in `Report.findings`, in words and with its line.
"""

from simulator.scenarios.loading import WrittenScenario, load, variables_of
from simulator.scenarios.placing import call_of, play
from simulator.scenarios.problems import Place, Problem, ScenarioError, meant
from simulator.scenarios.recording import write_scenario


__all__ = [
    "Place",
    "Problem",
    "ScenarioError",
    "WrittenScenario",
    "call_of",
    "load",
    "meant",
    "play",
    "variables_of",
    "write_scenario",
]

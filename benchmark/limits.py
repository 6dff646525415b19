"""What gave out at a load that was not held."""

from benchmark.ramp import Step


# Share of the core's time from which on it counts as full: echoes wait in line well before 100 %.
FULL = 0.9


def limit(step: Step) -> str:
    """One word, the surest first; docs/performance.md says what each means.

    A process has one core here. So its threads wait for each other (for the GIL too) only while one of them uses the
    core: what they cost each other is in their shares of it, and there is no word for it.
    """
    if step.window.is_generators:
        return "generator"
    if step.cpu >= FULL:
        return "core"
    # What the loop waited for the core beyond what its own process's threads had of it, others had.
    if step.waited is not None and step.cpu + max(0.0, step.waited - (step.cpu - step.loop)) >= FULL:
        return "machine"
    if step.window.refused or step.window.dropped or step.window.garbled:
        return "errors"
    return "stalls"

"""The benchmark tells the truth: what is held, what is lost, what it cannot measure."""

import sys

import pytest
from django.core.management import CommandError, call_command

from benchmark import load, report
from benchmark.lab import Lab
from benchmark.load import BenchmarkError, Window
from benchmark.ramp import lost_bytes
from benchmark.talking import talkers


HELD = Window(
    seconds=4.0,
    streams=100,
    sent=20_000,
    echoed=19_950,
    p50_ms=0.2,
    p99_ms=3.0,
    max_ms=9.0,
    behind=2,
    garbled=0,
    refused=0,
    dropped=0,
    late_p99_ms=0.2,
    cpu=0.4,
    sent_ever=20_000,
)
FASTAPI = {"title": "FastAPI", "held": [200, 210, 190], "held_median": 200, "frame_us": 60.0, "call_kb": 250}
FASTAPI |= {"lag_s": None, "bytes_lost": None, "generator_was_slow": False}
FASTAPI |= {"steps": [[100, 80.0, 1.0], [200, 60.0, 9.0]]}
OURS = {"title": "Callstream", "held": [300], "held_median": 300, "frame_us": 50.0, "call_kb": 60}
OURS |= {"lag_s": 0.1, "bytes_lost": 0, "generator_was_slow": False, "steps": [[100, 70.0, 1.0], [300, 50.0, 9.0]]}
SERVERS = {"fastapi": FASTAPI, "callstream": OURS}


def but(**facts):
    window = Window(**{name: getattr(HELD, name) for name in HELD.__struct_fields__})
    for name, value in facts.items():
        setattr(window, name, value)
    return window


def test_a_load_is_held_when_every_echo_comes_in_time():
    assert HELD.is_held


@pytest.mark.parametrize("fact", [{"p99_ms": 20.0}, {"echoed": 19_000}, {"behind": 51}, {"garbled": 1}, {"dropped": 1}])
def test_a_load_is_not_held_when_echoes_are_late_missing_or_wrong(fact):
    assert not but(**fact).is_held


@pytest.mark.parametrize("fact", [{"late_p99_ms": 5.1}, {"cpu": 0.95}])
def test_a_generator_that_cannot_keep_up_says_so(fact):
    assert but(**fact).is_generators
    assert not HELD.is_generators


def test_the_table_ranks_servers_and_compares_them():
    first, second = report.table(SERVERS).splitlines()[2:]
    assert first == "| Callstream | 300 (300) | 1.50 | - | 50.0 | 60 | 0.10 | 0 |"
    assert second == "| FastAPI | 200 (200, 210, 190) | 1.00 | - | 60.0 | 250 | - | - |"


def test_plots_are_svg_with_a_name_for_those_who_do_not_see():
    for plot in (report.held_plot(SERVERS), report.cost_plot(SERVERS)):
        assert plot.startswith("<svg ")
        assert 'role="img" aria-label=' in plot


def test_a_missing_compiler_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BenchmarkError, match="install a compiler"):
        load.build(tmp_path)


def test_source_that_does_not_compile_is_quoted(tmp_path, monkeypatch):
    source = tmp_path / "load.c"
    source.write_text("int main(void) { return nothing; }")
    monkeypatch.setattr(load, "SOURCE", source)
    with pytest.raises(BenchmarkError, match="nothing"):
        load.build(tmp_path)


def test_one_core_is_too_few():
    with pytest.raises(CommandError, match="two cores"):
        call_command("bench_streams", "gate", "--cores", "0", "0")


def test_where_the_benchmark_is_not_installed_the_command_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "benchmark", None)
    with pytest.raises(CommandError, match=r"^benchmark/ is not installed: .*in a checkout\.$"):
        call_command("bench_streams", "soak", "--server", "callstream")


def test_postgresql_needs_an_address(tmp_path):
    lab = Lab(tmp_path, "", (0, 1), 1.0, 1, print)
    with pytest.raises(BenchmarkError, match="--postgres"), lab.bench("callstream-postgres"):
        pass


@pytest.mark.process
@pytest.mark.sqlite  # the benchmark's own database
@pytest.mark.django_db
def test_calls_are_echoed_recorded_and_counted(tmp_path):
    lab = Lab(tmp_path, "", (0, 0), 1.0, 1, print)
    with lab.bench("callstream") as bench:
        bench.grow(3)
        step = bench.measure(1.0)
        assert (step.window.streams, step.window.garbled, step.window.dropped) == (3, 0, 0)
        assert bench.end() == 0
        assert bench.unanswered == 0


@pytest.mark.process
@pytest.mark.sqlite  # the benchmark's own database
@pytest.mark.django_db
def test_bytes_that_are_not_recorded_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmark.ramp.WRITE_SECONDS", 0)
    lab = Lab(tmp_path, "", (0, 0), 1.0, 1, print)
    with lab.bench("callstream") as bench:
        said = load.Ended(streams=[("MZ" + "0" * 32, 10, 4, 0)], refused=0, dropped=0)
        assert lost_bytes(bench.server, said) == 14 * 160


@pytest.mark.process
@pytest.mark.sqlite  # the benchmark's own database
@pytest.mark.django_db
def test_talkers_are_answered_once_a_turn(tmp_path):
    lab = Lab(tmp_path, "", (0, 0), 1.0, 1, print)
    with lab.bench("callstream") as bench, talkers(tmp_path, bench.server, 0, 2, "turns") as load:
        # In mid-sentence: when they are told to close they say no more, and by the clock their turn is over.
        load.measure(1)
        assert [heard for _, _, heard, _ in load.close().streams] == [1, 1]

"""The benchmark tells the truth: what is held, what is lost, what it cannot measure."""

import sys

import pytest
from django.core.management import CommandError, call_command

from benchmark import load, report
from benchmark.lab import Lab
from benchmark.limits import limit
from benchmark.load import BenchmarkError, Window
from benchmark.ramp import Result, Step, lost_bytes
from benchmark.spread import Ratio
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
FASTAPI |= {"lag_s": None, "bytes_lost": None, "generator_was_slow": False, "ratios": {"fastapi": {"median": 1.0}}}
FASTAPI |= {"limits": [], "loop_share": None, "thread_share": None, "steps": [[100, 80.0, 1.0], [200, 60.0, 9.0]]}
OURS = {"title": "Callstream", "held": [300, 299, 301], "held_median": 300, "frame_us": 50.0, "call_kb": 60}
OURS |= {"lag_s": 0.1, "bytes_lost": 0, "generator_was_slow": False, "steps": [[100, 70.0, 1.0], [300, 50.0, 9.0]]}
OURS |= {"ratios": {"fastapi": {"median": 1.5, "low": 1.3, "high": 1.7}}}
OURS |= {"limits": ["core", "stalls", "core"], "loop_share": 0.9, "thread_share": 0.08}
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
    assert first.startswith("| Callstream | 300 (300, 299, 301) | 1.50 (1.30 to 1.70) | - | 50.0 | 60 | 0.10 | 0 |")
    assert second == "| FastAPI | 200 (200, 210, 190) | 1.00 | - | 60.0 | 250 | - | - | - |"


def test_the_table_says_what_gave_out_and_who_had_the_core():
    assert report.table(SERVERS).splitlines()[2].endswith("| core (2 of 3): loop 90%, threads 8% |")


@pytest.mark.parametrize(
    ("word", "facts", "window"),
    [
        ("generator", {"cpu": 0.99}, but(late_p99_ms=6.0)),
        ("core", {"cpu": 0.9}, but(dropped=1)),
        ("machine", {"cpu": 0.7, "loop": 0.6, "waited": 0.31}, HELD),
        ("errors", {"waited": None}, but(refused=1)),
        ("stalls", {"cpu": 0.7, "loop": 0.6, "waited": 0.29}, but(p99_ms=30.0)),
    ],
)
def test_a_load_that_was_not_held_says_what_gave_out(word, facts, window):
    known = {"calls": 100, "cpu": 0.5, "frame_us": 50.0, "call_kb": 60.0, "lag": None, "loop": 0.4, "waited": 0.0}
    assert limit(Step(window=window, **known | facts)) == word


def test_what_gave_out_is_asked_of_the_first_load_past_the_best():
    known = {"cpu": 0.5, "frame_us": 50.0, "call_kb": 60.0, "lag": None, "loop": 0.4, "waited": 0.0}
    loads = [(60, HELD), (70, but(p99_ms=30.0)), (80, HELD), (90, but(dropped=1)), (95, but(dropped=1))]
    beyond = Result("picows", [Step(calls=calls, window=window, **known) for calls, window in loads]).beyond
    assert beyond is not None
    assert beyond.calls == 90


def test_a_ratio_is_the_median_of_the_rounds_with_an_interval_around_it():
    assert str(Ratio.of([300, 345, 270], [200, 200, 200])) == "1.50 (1.12 to 2.06)"


def test_rounds_that_agree_leave_no_doubt():
    assert Ratio.of([300, 150, 30], [200, 100, 20]) == Ratio(1.5, 1.5, 1.5)


def test_fewer_than_three_rounds_have_no_interval():
    assert Ratio.of([300, 310], [200, 200]) == Ratio(1.525)


def test_rounds_in_which_nothing_was_held_are_no_ratio():
    assert Ratio.of([300], [0]) is None


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

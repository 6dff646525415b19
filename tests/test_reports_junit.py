"""JUnit's XML, read by another program than the one that wrote it."""

from dataclasses import replace
from xml.etree import ElementTree

import pytest

from simulator.report import Finding
from simulator.reports.junit import junit
from simulator.reports.results import Result
from tests.support.results import LATE, TOKEN, broken, late, planned, result, run


def cases(*results, **changes):
    return ElementTree.fromstring(junit(run(*results, **changes))).findall("testsuite/testcase")


def test_a_suite_is_a_file_and_a_case_a_call():
    calls = [planned("order", 1, "a.yaml", 1, 2), planned("order", 2, "a.yaml", 2, 2), planned("menu", 3, "b.yaml")]
    root = ElementTree.fromstring(junit(run(*(result(plan=plan) for plan in calls))))
    assert [suite.get("name") for suite in root] == ["a.yaml", "b.yaml"]
    assert [case.get("name") for case in root.iter("testcase")] == ["order, call 1 of 2", "order, call 2 of 2", "menu"]
    assert root.find("testsuite/testcase").attrib == {
        "name": "order, call 1 of 2",
        "classname": "a",
        "time": "2.500",
    }


@pytest.mark.parametrize(
    ("file", "name"),
    [("orders.yaml", "orders"), ("../calls/v1.2/orders.eu.yaml", "calls.v1_2.orders_eu"), ("/srv/a.yaml", "srv.a")],
)
def test_folders_are_packages(file, name):
    (case,) = cases(result(plan=planned(file=file)))
    assert case.get("classname") == name


def test_counts_and_times_are_those_of_the_calls():
    root = ElementTree.fromstring(junit(run(result(), result(LATE), Result(planned()))))
    suite = root.find("testsuite")
    counts = {"tests": "3", "failures": "1", "errors": "0"}
    assert root.attrib == {"name": "simulator", **counts, "time": "9.500"}
    assert counts.items() <= suite.attrib.items()
    assert (suite.get("skipped"), suite.get("time"), suite.get("timestamp")) == ("1", "5.000", "2026-11-28T12:00:00")


def test_the_first_line_of_a_failure_is_what_was_wrong():
    (case,) = cases(result("the server answered 500:\n  Traceback", LATE, **broken(line=12)))
    failure = case.find("failure")
    assert failure.get("message") == "the server answered 500: Traceback"
    assert failure.text.splitlines()[0] == "the server answered 500:"


def test_a_server_that_says_very_much_does_not_fill_the_first_line():
    (case,) = cases(result("the server said " + "no " * 1000))
    assert len(case.find("failure").get("message")) <= 400
    assert len(case.find("failure").text) > 3000


def test_an_expectation_that_did_not_hold_has_its_line():
    (case,) = cases(result(LATE, **broken(line=12)))
    assert case.find("failure").get("type") == "expectation"
    assert case.find("failure").text == f"{LATE}\n  orders.yaml:12"


def test_a_call_that_went_well_has_no_failure_and_tells_its_log():
    (case,) = cases(result(log=["POST /voice: Connect"], findings=[Finding("speech within 1 s", True)]))
    assert case.find("failure") is None
    told = case.find("system-out").text.splitlines()
    assert "2.0 s on 1 stream(s)" in told[0]
    assert told[-2:] == ["held: speech within 1 s", "   0.000 POST /voice: Connect"]


def test_a_call_that_never_began_is_skipped():
    (case,) = cases(Result(planned()))
    assert case.find("skipped").get("message") == "not run: Ctrl-C"


def test_the_suite_says_what_was_tested_with_what_and_how_long_callers_waited():
    root = ElementTree.fromstring(junit(run(replace(result(), late=late(34)))))
    told = {each.get("name"): each.get("value") for each in root.iter("property")}
    assert told["simulator"] == "simulator 1.2.3"
    assert told["tested"] == "http://127.0.0.1:5000/voice"
    assert told["response time p99"] == "500 ms"
    assert "34 ms late" in told["warning"]


def test_what_a_server_sends_is_text_and_no_token_of_it_is_told():
    hostile = "]]></failure><x>\x00\x1b[31m\ud800 &amp; " + TOKEN
    data = junit(run(result(hostile, plan=planned("<order>\x01", file="<f>.yaml"), log=[hostile])))
    (case,) = ElementTree.fromstring(data).iter("testcase")
    assert case.get("name") == "<order>\ufffd"
    assert case.find("failure").get("message") == "]]></failure><x>\ufffd\ufffd[31m\ufffd &amp; …"
    assert TOKEN.encode() not in data

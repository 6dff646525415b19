"""A scenario's file: what it says is what is played, and each of its mistakes is a sentence with its line."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from simulator.audio import mono_wav
from simulator.dialled import Dialled
from simulator.scenarios import ScenarioError, load, schema, variables_of
from simulator.scenarios.steps import Hold, Play, Press, Wait


EXAMPLES = sorted((Path(schema.__file__).parents[1] / "examples").glob("*.yaml"))
DOCS = Path(__file__).parents[1] / "docs/scenarios.md"
SERVER = "server: {voice_url: http://127.0.0.1:5000/voice, auth_token: t0ken}\n"
STEPS = "steps: [wait: 1s]\n"


@pytest.fixture
def written(tmp_path):
    """Writes a file, and gives its path."""

    def write(text, name="pizza.yaml"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


@pytest.fixture
def problems(written):
    """The lines of what is wrong with a file, without its folder."""

    def find(text, **variables):
        with pytest.raises(ScenarioError) as caught:
            load(written(text), variables)
        folder = str(written(text).parent) + "/"
        return str(caught.value).replace(folder, "").splitlines()

    return find


def one(path, **variables):
    (scenario,) = load(path, variables)
    return scenario


# --- what it says


def test_a_file_is_the_call_that_it_describes(written):
    text = """\
name: orders a pizza
server:
  voice_url: https://voice.example.org/voice
  address: http://127.0.0.1:5000
  status_callback: https://voice.example.org/status
  account_sid: AC3f0c6a1d2b4e58790f1e2d3c4b5a6978
  auth_token: t0ken
from: +14155550111
line: {loss: 3%, jitter: 40ms, burst: 5, seed: 7}
webhooks: {repeat: true, callbacks: shuffled, last_stream_event: stream-error, parameters: {ForwardedFrom: +1415}}
dial: [busy, {outcome: completed, lasting: 5s}]
silence_timeout: 4
steps:
  - wait: 1.2s
"""
    scenario = one(written(text))
    assert (scenario.name, scenario.url, scenario.server) == (
        "orders a pizza",
        "https://voice.example.org/voice",
        "http://127.0.0.1:5000",
    )
    assert (scenario.public_url, scenario.auth_token) == ("https://voice.example.org", "t0ken")
    assert (scenario.from_number, scenario.to_number) == ("+14155550111", "+14155550199")
    assert (scenario.drop, scenario.jitter, scenario.burst, scenario.seed) == (0.03, 0.04, 5, 7)
    assert (scenario.repeat_webhook, scenario.callbacks, scenario.last_stream_event) == (
        True,
        "shuffled",
        "stream-error",
    )
    assert scenario.extra == {"ForwardedFrom": "+1415"}
    assert scenario.dial == (Dialled("busy"), Dialled("completed", 5.0))
    assert (scenario.status_callback, scenario.status_url) == (True, "https://voice.example.org/status")
    assert scenario.silence_timeout == 4


def test_values_are_taken_as_they_are_written(written):
    """What YAML makes of 0123, no and 1:20 is nothing that anybody means."""
    scenario = one(written(f"{SERVER}name: no\nfrom: 0123\nsteps: [press: 012, wait: 0.5]"))
    assert (scenario.name, scenario.from_number) == ("no", "0123")
    assert scenario.script.steps == (Press(keys="012"), Wait(lasting=0.5))


@pytest.mark.parametrize(("text", "seconds"), [("1.2s", 1.2), ("800ms", 0.8), ("2min", 120), ("3", 3), ("0.25", 0.25)])
def test_a_duration_has_a_unit_or_is_seconds(written, text, seconds):
    assert one(written(f"{SERVER}steps: [hold: {text}]")).script.steps == (Hold(lasting=seconds),)


def test_a_wav_file_is_looked_for_beside_the_file_that_names_it(written, tmp_path):
    (tmp_path / "me.wav").write_bytes(mono_wav(b"\x10" * 320))
    (step,) = one(written(f"{SERVER}steps: [play: me.wav]")).script.steps
    assert isinstance(step, Play)
    assert step.file.audio == b"\x10" * 320


def test_the_token_is_the_environments_unless_the_file_has_one(written, monkeypatch):
    monkeypatch.setenv("TWILIO_AUTH_TOKEN", "first,second")
    assert one(written("server: {voice_url: http://127.0.0.1/voice}\n" + STEPS)).auth_token == "first"
    assert one(written(SERVER + STEPS)).auth_token == "t0ken"


@pytest.mark.parametrize(
    ("line", "faults"), [("good", (0, 0, 1)), ("bad", (0.05, 0.12, 3)), ("{loss: 1%}", (0.01, 0, 1))]
)
def test_a_line_is_named_or_described(written, line, faults):
    scenario = one(written(f"{SERVER}{STEPS}line: {line}"))
    assert (scenario.drop, scenario.jitter, scenario.burst) == faults


# --- variables, includes, matrix


def test_a_variable_of_the_command_line_outweighs_the_files(written):
    path = written(SERVER + "variables: {name: Ann, greeting: 'Hi ${name}'}\nname: ${greeting}\n" + STEPS)
    assert (one(path).name, one(path, name="Bob").name) == ("Hi Ann", "Hi Bob")


def test_a_variable_may_be_the_environments_and_two_dollars_are_one(written, monkeypatch):
    monkeypatch.setenv("WHO", "Ann")
    assert one(written(SERVER + "name: ${env:WHO} $${x}\n" + STEPS)).name == "Ann ${x}"


@pytest.mark.parametrize("server", ["", "server: {auth_token: t0ken}\n", SERVER])
def test_a_file_that_does_not_say_what_it_calls_calls_what_the_command_line_says(written, server, monkeypatch):
    monkeypatch.setenv("TWILIO_AUTH_TOKEN", "t0ken")
    scenario = one(written(server + STEPS), voice_url="http://127.0.0.1:8000/x")
    assert scenario.url == ("http://127.0.0.1:5000/voice" if server == SERVER else "http://127.0.0.1:8000/x")


def test_what_an_included_file_says_holds_unless_it_is_said_again(written):
    written(SERVER + "name: base\nline: {loss: 1%, seed: 3}\nsteps: [wait: 9s]\nfrom: '+1'", "base.yaml")
    scenario = one(written("include: base.yaml\nline: {loss: 2%}\nsteps: [wait: 1s]"))
    assert (scenario.name, scenario.drop, scenario.seed, scenario.from_number) == ("pizza", 0.02, 3, "+1")
    assert scenario.script.steps == (Wait(lasting=1.0),)


def test_steps_are_included_where_they_are_named(written, tmp_path):
    (tmp_path / "parts").mkdir()
    written("steps: [wait: 2s, include: ../more.yaml]", "parts/two.yaml")
    written("steps: [wait: 3s]", "more.yaml")
    steps = one(written(SERVER + "steps: [wait: 1s, include: parts/two.yaml, wait: 4s]")).script.steps
    assert [step.lasting for step in steps] == [1, 2, 3, 4]
    assert steps[2].place.short == "more.yaml:1"


def test_a_matrix_is_a_call_for_each_combination(written):
    text = f"{SERVER}name: orders\nmatrix: {{line: [good, {{loss: 3%}}], size: [small, large]}}\n"
    scenarios = load(written(text + "from: ${size}\n" + STEPS))
    assert [scenario.name for scenario in scenarios] == [
        "orders [good, small]",
        "orders [good, large]",
        "orders [loss 3%, small]",
        "orders [loss 3%, large]",
    ]
    assert [(scenario.drop, scenario.from_number) for scenario in scenarios][1:3] == [(0, "large"), (0.03, "small")]


# --- what is wrong with it


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "pizza.yaml:1: the file is empty; a scenario has at least `steps:`"),
        ("steps:\n\t- wait: 1s", "pizza.yaml:2: a tab; YAML is indented with spaces"),
        ("name: a\nname: b", "pizza.yaml:2: `name` is there twice; the first one is in line 1"),
        (
            "a: &a [1]\nb: [*a, *a]",
            "pizza.yaml:1: anchors and aliases (& and *) are not read; use `variables:` or `include:`",
        ),
        ("- wait: 1s", "pizza.yaml:1: a scenario is `key: value` lines, and this is a list"),
        ("name: a: b", "pizza.yaml:1: a second `: ` in one line; put the text in quotes"),
        ("name: x\n---\nname: y", "pizza.yaml:2: a second document: one file is one scenario"),
        ("name: !!python/name:os.system", "pizza.yaml:1: tags like !!python/name:os.system are not read"),
        (
            "line: {loss: ${x}}",
            'pizza.yaml:1: inside of brackets, write "${name}" in quotes: this one does not close',
        ),
        ("[" * 2000, "pizza.yaml:1: more than 20 levels inside one another"),
        (b"name: x\nfrom: \xff", "pizza.yaml:2: not UTF-8; save the file as UTF-8"),
        ("name: x\nto: \x01", "pizza.yaml:2: a character that YAML does not allow: '\\x01'"),
        ("name: 'x\nto: y\n", "pizza.yaml:1: quotes that do not close"),
        ("line: {loss: 3%\nto: y\n", "pizza.yaml:1: a bracket { } that does not close"),
        ("line: [\n\n", "pizza.yaml:3: a bracket that does not close"),
        ("name: @home", "pizza.yaml:1: a text that begins with one of @ ` % | > stands in quotes"),
        ("steps: - wait: 1s", "pizza.yaml:1: a `- ` behind something else; each one begins a line of its own"),
        ("x" * 1_000_001, "pizza.yaml:1: 1000001 bytes; a scenario has at most 1000000"),
    ],
)
def test_what_is_no_scenario_is_refused_in_plain_words(problems, text, problem):
    assert problems(text) == [problem]


@pytest.mark.parametrize(
    ("step", "problem"),
    [
        ("sai: hello", "unknown step `sai`; did you mean `say`?"),
        ("hangup", "unknown step `hangup`; did you mean `hang_up`?"),
        ("say", "`say` has no value: write `say: ...`"),
        ("say: {text: x, voise: y}", "unknown key `voise` in `say`; did you mean `voice`?"),
        ("say: [a, b]", "`say` is one value, and not a list"),
        ("{wait: 1s, press: 1}", "`press` is in one step with `wait`; begin a line of its own with `- `"),
        ("press: #", "`press` has no value; a # begins a comment: write it in quotes"),
        ("press: 1x", "`press` cannot be `1x`: a key is one of 0-9 * # A-D; several are written one after the other"),
        ("wait: soon", "`wait` cannot be `soon`: write a duration like 1.2s, 800ms or 2min"),
        ("wait: 25000min", "`wait` cannot be `25000min`: a call is over within 24 hours"),
        ("wait_for: spech", "`wait_for` cannot be `spech`; did you mean `speech`?"),
        (
            "expect: {}",
            "`expect`: needs one of `speech`, `sound`, `silence`, `nothing`, `mark`, `clear`, `hang_up`",
        ),
        ("expect: {mark: {}}", "`mark` needs `name`"),
        ("interrupt: {after: 1s}", "`interrupt`: needs one of `say`, `play` and `press`"),
        ("say: {text: x, speed: fast}", "`speed` cannot be `fast`: write a whole number"),
        ("[wait, 1s]", "a step is `name: value`, and not a list"),
    ],
)
def test_a_wrong_step_is_named_with_its_line_and_what_was_meant(problems, step, problem):
    assert problems(f"{SERVER}steps:\n  - wait: 1s\n  - {step}") == [f"pizza.yaml:4: {problem}"]


def test_every_problem_of_a_file_is_told_at_once(problems):
    text = "server: {voice_url: ftp://x}\nlin: good\nline: {loss: 300%}\nsteps: wait\nexpect: {ended_by: me}"
    assert problems(text) == [
        "pizza.yaml:1: `voice_url` cannot be `ftp://x`: write an address like http://127.0.0.1:5000/voice",
        "pizza.yaml:2: unknown key `lin` in a scenario; did you mean `line`?",
        "pizza.yaml:3: `loss` cannot be `300%`: that is more than everything; write a percentage like 3%",
        "pizza.yaml:4: `wait` has no value: write `wait: ...`",
        "pizza.yaml:5: `ended_by` cannot be `me`; there are `caller`, `server`",
    ]


def test_a_file_that_is_not_there_is_named_with_the_line_that_names_it(problems, tmp_path):
    problem = f"pizza.yaml:2: `play` cannot be `me.wav`: {tmp_path}/me.wav cannot be read: No such file or directory"
    assert problems(SERVER + "steps: [play: me.wav]") == [problem.replace(f"{tmp_path}/", "")]


def test_what_only_the_whole_file_shows_is_a_problem_too(problems, monkeypatch):
    monkeypatch.delenv("TWILIO_AUTH_TOKEN", raising=False)
    assert problems("name: x\nsteps:\n  - hang_up\n  - wait: 1s") == [
        "pizza.yaml:1: `server` needs `voice_url`: write it, or give --voice-url",
        "pizza.yaml:1: there is no token to sign with: set TWILIO_AUTH_TOKEN, or give --auth-token; the server's own",
        "pizza.yaml:4: nothing can follow `hang_up`; what is expected after it goes under `expect:`",
    ]


def test_an_unknown_variable_is_named_with_its_line(problems):
    text = SERVER + "variables: {size: x}\nname: ${sise}\nfrom: ${env:NOT_THERE}\n" + STEPS
    assert problems(text) == [
        "pizza.yaml:3: unknown variable `sise`; did you mean `size`?",
        "pizza.yaml:4: ${env:NOT_THERE}: the environment has no such variable",
    ]


def test_a_variable_cannot_be_made_of_itself(problems):
    text = SERVER + "name: ${a}\nvariables:\n  a: ${b}\n  b: ${a}\n" + STEPS
    assert "pizza.yaml:5: variable `a` is made of itself: a -> b -> a" in problems(text)


def test_files_cannot_include_one_another(problems, written):
    written("include: pizza.yaml", "base.yaml")
    assert problems("include: base.yaml") == [
        "base.yaml:1: files that include one another: pizza.yaml -> base.yaml -> pizza.yaml"
    ]


@pytest.mark.parametrize(
    ("matrix", "problem"),
    [
        ("{size: small}", "`size` needs a list of values in a matrix, like [small, large], and not `small`"),
        (
            "{size: [{a: b}]}",
            "`size` is a variable, so each of its values is a text or a number, and not a group of keys",
        ),
        ("{name: [a, b]}", "`name` cannot vary; what can is `line`, another key of the call, or a variable"),
        (f"{{a: {list(range(40))}, b: {list(range(40))}}}", "1600 combinations; 1000 are the most"),
    ],
)
def test_a_matrix_that_cannot_be_is_refused(problems, matrix, problem):
    assert problems(f"{SERVER}matrix: {matrix}\n{STEPS}") == [f"pizza.yaml:2: {problem}"]


def test_a_sentence_that_cannot_be_said_is_a_problem_of_its_line(problems):
    (problem,) = problems(SERVER + "steps:\n  - say: {text: Hello, voice: '../x'}")
    assert problem.startswith("pizza.yaml:3: `say: Hello` cannot be said: ")


# --- the schema and the docs


def test_the_shipped_schema_is_that_of_the_types():
    assert schema.PATH.read_text() == schema.text(), "run python -m simulator.scenarios.schema"
    jsonschema.Draft7Validator.check_schema(schema.schema())


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_is_what_editors_take_for_a_scenario(path):
    lines = path.read_text()
    assert lines.startswith("# yaml-language-server: $schema=../scenarios/scenario.schema.json\n")
    jsonschema.validate(yaml.safe_load(lines), json.loads(schema.PATH.read_text()))


@pytest.mark.parametrize(
    "text", ["steps: [sai: x]", "lin: good", "expect: {ended_by: me}", "steps: [{wait: 1s, press: 1}]"]
)
def test_editors_see_what_is_wrong_with_a_scenario(text):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(text), schema.schema())


def test_the_docs_have_every_key_as_it_is():
    assert schema.table() in DOCS.read_text(), "paste what python -m simulator.scenarios.schema --table prints"


def test_the_names_of_variables_are_those_that_are_declared_used_or_varied(tmp_path):
    (tmp_path / "pizza.yaml").write_text(
        "variables: {size: large}\nmatrix: {crust: [thin, thick]}\nsteps:\n  - say: A ${topping} pizza, $${not}.\n"
    )
    assert variables_of(tmp_path / "pizza.yaml") == {"voice_url", "size", "crust", "topping"}

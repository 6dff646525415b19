"""What a handler declares: by the decorator, not at all, or by attributes as it was done before."""

import inspect

import pytest

from calls import handlers
from calls.handlers import handler
from calls.twiml import StreamNoun


def announce(noun):
    response = noun.start()
    response.say("This call is recorded.")
    return response


def noun():
    return StreamNoun(sign=lambda bidirectional: "token", name="own", parameters={})


@handler
async def bare(stream):
    """Says nothing."""
    return stream


@handler(twiml=announce, records=False)
async def quiet(stream):
    return stream


async def plain(stream):
    return stream


async def old(stream):
    return stream


old.twiml = announce
old.records = False


@handler(records=False)
async def both(stream):
    return stream


both.twiml = announce


def found(settings, name):
    settings.STREAM_HANDLERS = {"own": f"tests.test_declaring.{name}"}
    return handlers.find("own")


@pytest.fixture(autouse=True)
def nobody_was_told(monkeypatch):
    monkeypatch.setattr(handlers, "_told", set())


@pytest.mark.parametrize("name", ["bare", "plain"])
def test_a_handler_that_declares_nothing_is_recorded_and_connected(settings, caplog, name):
    own = found(settings, name)
    assert own.records
    assert own.transcribes
    assert "<Response><Connect" in own.twiml(noun())
    assert caplog.text == ""


def test_a_handler_declares_its_document_and_that_it_is_not_recorded(settings, caplog):
    own = found(settings, "quiet")
    assert not own.records
    assert "<Say>This call is recorded.</Say>" in own.twiml(noun())
    assert caplog.text == ""


@pytest.mark.parametrize("name", ["bare", "quiet"])
async def test_a_declared_coroutine_stays_the_function_that_it_was(settings, name):
    assert inspect.iscoroutinefunction(globals()[name])
    assert await globals()[name](17) == 17
    assert await found(settings, name)(17) == 17


def test_declaring_without_arguments_is_the_same_as_not_calling():
    @handler()
    async def called(stream): ...

    assert inspect.iscoroutinefunction(called)


def test_attributes_still_declare_and_the_log_says_once_what_to_write_instead(settings, caplog):
    for _ in range(3):
        own = found(settings, "old")
        assert not own.records
        assert "<Say>This call is recorded.</Say>" in own.twiml(noun())
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage() == (
        "handler_attributes handler=tests.test_declaring.old: write @handler(twiml=…, records=…) above it "
        "instead of .twiml = … and .records = …; 1.0 will not look at attributes"
    )


def test_an_attribute_is_set_beside_what_the_decorator_declares(settings, caplog):
    own = found(settings, "both")
    assert not own.records
    assert "<Say>This call is recorded.</Say>" in own.twiml(noun())
    assert "write @handler(twiml=…) above it instead of .twiml = …;" in caplog.text


async def returns_later(noun): ...


async def warm_up(call): ...


async def takes_two(call, stream): ...


def test_a_handler_declares_what_it_prepares(settings):
    @handler(prepare=warm_up)
    async def prepared(stream): ...

    assert vars(prepared)["__callstream__"].prepare is warm_up


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"twiml": "<Response/>"}, "plain function of the <Stream> noun, not '<Response/>'"),
        ({"twiml": None}, "plain function of the <Stream> noun, not None"),
        ({"twiml": returns_later}, "plain function of the <Stream> noun, not <function returns_later"),
        ({"twiml": lambda: None}, "takes one argument, the <Stream> noun: too many positional arguments"),
        ({"records": "no"}, "records is True or False, not 'no'"),
        ({"transcribes": 0}, "transcribes is True or False, not 0"),
        ({"prepare": announce}, "prepare is a coroutine, `async def`, and <function announce.* is not one"),
        ({"prepare": "warm_up"}, "prepare is a coroutine, `async def`, and .warm_up. is not one"),
        (
            {"prepare": takes_two},
            "prepare takes one argument, the expected call: missing a required argument: 'stream'",
        ),
        ({"record": False}, "unexpected keyword argument 'record'"),
    ],
)
def test_what_cannot_be_declared_is_an_error_where_it_is_written(options, reason):
    with pytest.raises(TypeError, match=reason):
        handler(**options)


async def yields(stream):
    yield stream


async def hears_nobody(): ...


@pytest.mark.parametrize(
    ("mistake", "reason"),
    [
        (yields, "it has a `yield` in it, and a handler only awaits"),
        (hears_nobody, r"it takes \(\) and has to take one argument, the stream"),
        (takes_two, r"it takes \(call, stream\) and has to take one argument, the stream"),
    ],
)
def test_a_coroutine_that_cannot_be_a_handler_is_an_error_where_it_is_written(mistake, reason):
    with pytest.raises(TypeError, match=reason):
        handler(mistake)


@pytest.mark.parametrize("name", ["announce", "yields", "hears_nobody", "takes_two"])
def test_what_is_no_handler_is_not_found(settings, name):
    with pytest.raises(handlers.NotAHandler, match=r"^'own' is not a handler: it "):
        found(settings, name)


@pytest.mark.parametrize("declare", [handler, handler(records=False)])
@pytest.mark.parametrize("no_coroutine", [announce, "announce"])
def test_what_is_not_a_coroutine_cannot_be_declared_a_handler(declare, no_coroutine):
    with pytest.raises(
        TypeError, match=r"announce.* below @handler is not a handler: it is not a coroutine, `async def`"
    ):
        declare(no_coroutine)

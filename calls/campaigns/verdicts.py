"""What becomes of a row that Twilio has refused: of its number, of the whole campaign, or of this moment only."""

from enum import Enum

from calls import rest


class Verdict(Enum):
    #: This number is not called, and the next one is.
    ROW = "row"
    #: Nothing was done, and nothing is wrong: the row waits again, and so does the campaign.
    LATER = "later"
    #: No row would fare better: the row waits again, and the campaign stops.
    ALL = "all"


# https://www.twilio.com/docs/api/errors
_LATER = {
    10004,  # too many calls run at once
    *(429, 20429),  # too many requests: this one was never processed
}
_ALL = {
    *(401, 403, 10001, 10002, 20003, 20005, 20008),  # the account and its credentials
    *(404, 20404),  # no such account: it is what the path names
    *(21210, 21212, 21213),  # the number to call from
    *(21205, 21402, 21609, 21626),  # our own addresses
}


def verdict(error: rest.RestError) -> Verdict:
    """Of a refusal that was surely not carried out."""
    if isinstance(error, rest.NotReached) or error.code in _LATER:
        return Verdict.LATER
    # Without a code it is our own settings that are wrong.
    return Verdict.ALL if error.code is None or error.code in _ALL else Verdict.ROW

"""Numbers as findings and names say them."""


def seconds(value: float) -> str:
    """ "0.34 s", "12 s"."""
    return f"{value:.2f}".rstrip("0").rstrip(".") + " s"


def ms(value: float) -> str:
    return seconds(value / 1000)


def percent(share: float) -> str:
    return f"{share * 100:.0f} %"


def count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def shown(text: str, longest: int = 60) -> str:
    """On one line, and not too long."""
    line = " ".join(text.split())
    return line if len(line) <= longest else f"{line[: longest - 3]}..."

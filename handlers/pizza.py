"""Takes an order by key: greets the caller, waits for one key, thanks them and hangs up."""

from calls.handlers import sound
from calls.streams import MediaStream


async def pizza(stream: MediaStream) -> None:
    await stream.play(sound("greeting"), barge_in=True)  # returns once it has been heard; a key or speech clears it
    choice = await stream.digits(1, timeout=8)
    await stream.play(sound("thanks") if choice else sound("apology"))
    await stream.hang_up()

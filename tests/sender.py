"""A venue in another process that sends bursts: each trade frame names the nanosecond at which it was sent.

Usage: sender.py BURSTS FRAMES SECONDS; prints its port, then sends to the first client that connects.
"""

import asyncio
import sys
import time

from websockets.asyncio.server import ServerConnection, serve
from websockets.frames import Frame, Opcode

TRADE = (
    b'{"stream":"btcusdt@trade","data":{"e":"trade","E":%d,"T":%d,"s":"BTCUSDT","t":%d,"p":"61800.30","q":"0.006",'
    b'"X":"MARKET","m":false},"sent":%d}'
)


async def main(bursts: int, frames: int, seconds: float) -> None:
    """Serve one client."""

    async def attend(connection: ServerConnection) -> None:
        trade = 0
        for _ in range(bursts):
            await asyncio.sleep(0.3)
            begin = time.perf_counter()
            for place in range(frames):
                while time.perf_counter() - begin < place * seconds / frames:
                    pass
                trade += 1
                now = time.time_ns()
                raw = TRADE % (now // 1_000_000, now // 1_000_000, trade, now)
                connection.transport.write(Frame(Opcode.TEXT, raw).serialize(mask=False))
        await connection.wait_closed()

    async with serve(attend, "127.0.0.1", 0, compression=None, ping_interval=None, max_queue=None) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.wait_closed()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))

"""Start-up and warm-up, each in a process of its own, in turns: compiled kernels on disk, as after a first start.

Peers import what a book of theirs needs and apply one level; neither has kernels to load, hftbacktest's strategies are
compiled anew at every start.
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from benchmarks.compare import Peer, Prepare, compare

ROOT: Final = Path(__file__).parents[1]
WARM: Final = "from engine.config import EngineConfig; from engine.pipeline import warm; warm(EngineConfig())"
SORTED: Final = "import sortedcontainers; sortedcontainers.SortedDict()[1] = 1"
NAUTILUS: Final = """
from nautilus_trader.model.book import OrderBook
from nautilus_trader.model.data import BookOrder, OrderBookDelta
from nautilus_trader.model.enums import BookAction, BookType, OrderSide
from nautilus_trader.model.identifiers import InstrumentId
from nautilus_trader.model.objects import Price, Quantity
name = InstrumentId.from_str("BTCUSDT-PERP.BINANCE")
order = BookOrder(OrderSide.BUY, Price(1.0, 1), Quantity(1.0, 3), 1)
OrderBook(name, BookType.L2_MBP).apply_delta(OrderBookDelta(name, BookAction.UPDATE, order, 0, 0, 0, 0))
"""
HFTBACKTEST: Final = """
from benchmarks.hftbacktest_book import hftbacktest_book
from benchmarks.workload import work
hftbacktest_book(work().first(1), "message")()()
"""


def starting(*arguments: str) -> Prepare:
    """Start Python, and wait until it ends."""

    def run() -> int:
        return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, check=True).returncode

    return lambda: run


def importing(module: str, script: str) -> Prepare:
    """The same for a peer, if it is installed."""

    def prepare() -> Callable[[], Any]:
        __import__(module)
        return starting("-c", script)()

    return prepare


def test_the_command_answers(benchmark: Any) -> None:
    compare(
        benchmark,
        stage="start: airpocket --help",
        unit="ms",
        ours=starting("-m", "airpocket", "--help"),
        count=1,
        peers={"bare python": Peer(prepare=starting("-c", "pass"))},
        same=None,
    )


@pytest.mark.timeout(600)
def test_the_engine_is_warm(benchmark: Any) -> None:
    compare(
        benchmark,
        stage="start: import the engine, load every kernel, first signals",
        unit="ms",
        ours=starting("-c", WARM),
        count=1,
        peers={
            "sortedcontainers, first level": Peer(prepare=importing("sortedcontainers", SORTED)),
            "nautilus_trader, first level": Peer(prepare=importing("nautilus_trader", NAUTILUS)),
            "hftbacktest, first message": Peer(prepare=importing("hftbacktest", HFTBACKTEST)),
        },
        same=None,
        rounds=3,
    )


def test_the_modules_load(benchmark: Any) -> None:
    compare(
        benchmark,
        stage="start: import the engine",
        unit="ms",
        ours=starting("-c", "import engine.pipeline"),
        count=1,
        peers={
            "import numba": Peer(prepare=starting("-c", "import numba")),
            "import nautilus_trader's book": Peer(
                prepare=importing("nautilus_trader", "import nautilus_trader.model.book")
            ),
            "import hftbacktest": Peer(prepare=importing("hftbacktest", "import hftbacktest")),
        },
        same=None,
        rounds=5,
    )

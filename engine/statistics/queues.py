"""Queues: what rests at the best bid and ask in, the probability that the ask goes first and the mid rises out.

Three models of one question, at a spread of one tick:

 - Orders come to each queue at rate `arrival`, leave the front by trade at rate `market`, and each is cancelled at rate
   `cancel` (Cont, Stoikov, Talreja 2010). The two queues are one Markov chain on pairs of lengths; it is
   solved as the linear system that it is, on lengths up to `room`, where arrivals stop.
 - Balanced queues, to each of which orders come as fast as they go (Cont, de Larrard 2013):

       P = (1 / pi) int_0^pi (2 - cos t - sqrt((2 - cos t)^2 - 1))^ask  sin(bid t) cos(t / 2) / sin(t / 2) dt

 - Their limit where queues are long, with correlation rho of what happens to them (Avellaneda, Reed, Stoikov 2011):

       P = 1/2 - 1/2 atan(r (ask - bid) / (ask + bid)) / atan(r),   r = sqrt((1 + rho) / (1 - rho))

   which is (2 / pi) atan(bid / ask) for rho = 0, and bid / (bid + ask) where rho goes to -1.
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.kernel import kernel

Floats = NDArray[np.float64]
#: Longest queue of the chain: with the paper's rates, probabilities no longer change in the tenth digit from 25 on.
ROOM: Final = 30
#: Nodes of the integral beyond those that its oscillations ask for.
NODES: Final = 48


def chain_up(arrival: float, market: float, cancel: float, room: int = ROOM) -> Floats:
    """Give P(mid up) by [bid orders - 1, ask orders - 1] for both queues from 1 to `room` orders, all rates above 0."""
    size = room * room
    system, goal = np.zeros((size, size)), np.zeros(size)
    for bid in range(1, room + 1):
        for ask in range(1, room + 1):
            at = (bid - 1) * room + ask - 1
            bid_leaves, ask_leaves = market + cancel * bid, market + cancel * ask
            system[at, at] = bid_leaves + ask_leaves
            if bid > 1:
                system[at, at - room] = -bid_leaves
            if ask > 1:
                system[at, at - 1] = -ask_leaves
            else:
                goal[at] = ask_leaves
            if bid < room:
                system[at, at] += arrival
                system[at, at + room] = -arrival
            if ask < room:
                system[at, at] += arrival
                system[at, at + 1] = -arrival
    return np.asarray(np.linalg.solve(system, goal), np.float64).reshape(room, room)


def lattice_up(bid: int, ask: int) -> float:
    """Give P(mid up) of balanced queues of whole lengths from 1 on, to about ten digits.

    The integrand is smooth within the interval: Gauss-Legendre nodes, a few to each oscillation.
    """
    nodes, weights = np.polynomial.legendre.leggauss(NODES + 2 * (bid + ask))
    angle = 0.5 * math.pi * (nodes + 1.0)
    # With s = sin(t / 2), 2 - cos t = 1 + 2 s^2, and the bracket is the square of sqrt(1 + s^2) - s.
    sine = np.sin(0.5 * angle)
    decay = (np.sqrt(1.0 + sine * sine) - sine) ** (2 * ask)
    return float(np.sum(0.5 * weights * decay * np.sin(bid * angle) * np.cos(0.5 * angle) / sine))


@kernel
def diffusion_up(bid: float, ask: float, rho: float) -> float:
    """Return P(mid up) of long balanced queues, sizes in one unit, -1 < rho < 1; one half where nothing rests."""
    if bid + ask <= 0.0:
        return 0.5
    ratio = math.sqrt((1.0 + rho) / (1.0 - rho))
    return 0.5 - 0.5 * math.atan(ratio * (ask - bid) / (ask + bid)) / math.atan(ratio)

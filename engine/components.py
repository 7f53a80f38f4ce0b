"""Principal components: a covariance in, its axes and the heaviest of them out.

A symmetric matrix is turned, one pair of axes after another, until nothing is left beside its diagonal (Jacobi 1846;
Golub, Van Loan 2013, section 8.5.2). Only products, sums and square roots: the same matrix gives the same bits.
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.kernel import inner, kernel

Matrix = NDArray[np.float64]
#: Rounds over all pairs; a matrix of ten needs about six.
ROUNDS: Final = 30
#: What is left beside the diagonal counts as nothing below this share of it, both squared and summed.
NOTHING_LEFT: Final = 1e-28


@kernel
def find_axes(matrix: Matrix, axes: Matrix) -> None:
    """Turn a symmetric matrix into its eigenvalues on the diagonal; column k of `axes` belongs to the k-th of them."""
    size = len(matrix)
    for i in range(size):
        for j in range(size):
            axes[i, j] = 1.0 if i == j else 0.0
    for _ in range(ROUNDS):
        beside, along = 0.0, 0.0
        for i in range(size):
            along += matrix[i, i] * matrix[i, i]
            for j in range(i):
                beside += matrix[i, j] * matrix[i, j]
        if beside <= NOTHING_LEFT * along:
            return
        for i in range(size):
            for j in range(i + 1, size):
                turn(matrix, axes, i, j)


@inner
def turn(matrix: Matrix, axes: Matrix, i: int, j: int) -> None:
    """Turn the plane of axes i and j so that the matrix holds 0 between them."""
    between = matrix[i, j]
    if between == 0.0:
        return
    half = (matrix[j, j] - matrix[i, i]) / 2.0
    # The smaller root of t^2 + 2 t half / between - 1 = 0: the turn of at most an eighth of a circle.
    root = math.sqrt(half * half + between * between)
    tangent = between / (half + root if half >= 0.0 else half - root)
    cosine = 1.0 / math.sqrt(1.0 + tangent * tangent)
    sine = tangent * cosine
    for k in range(len(matrix)):
        one, other = matrix[k, i], matrix[k, j]
        matrix[k, i] = cosine * one - sine * other
        matrix[k, j] = sine * one + cosine * other
    for k in range(len(matrix)):
        one, other = matrix[i, k], matrix[j, k]
        matrix[i, k] = cosine * one - sine * other
        matrix[j, k] = sine * one + cosine * other
        one, other = axes[k, i], axes[k, j]
        axes[k, i] = cosine * one - sine * other
        axes[k, j] = sine * one + cosine * other
    matrix[i, j] = 0.0
    matrix[j, i] = 0.0


@kernel
def heaviest(matrix: Matrix, axes: Matrix, weights: Matrix) -> float:
    """Write the axis of the largest eigenvalue, absolute values 1 in sum and the sum not below 0; return the value."""
    size, best = len(matrix), 0
    for k in range(size):
        if matrix[k, k] > matrix[best, best]:
            best = k
    total, length, first = 0.0, 0.0, 0.0
    for k in range(size):
        total += axes[k, best]
        length += abs(axes[k, best])
        if first == 0.0:
            first = axes[k, best]
    # Weights that cancel exactly have no sum to go by: then the first of them is positive.
    sign = total if total != 0.0 else first
    for k in range(size):
        weights[k] = axes[k, best] / length if sign > 0.0 else -axes[k, best] / length
    return float(matrix[best, best])

"""The coefficients of tanh in vector.h: x P(x^2) / Q(x^2) with the least largest relative error on |x| <= 9.

Weighted least squares on P - Q tanh(x)/x, weights raised where the error is largest until it is level (Lawson 1961).
Run it to print them: python native/fit_tanh.py
"""

import numpy as np

BOUND, DEGREE, POINTS, ROUNDS = 9.0, 4, 4000, 200


def fit() -> tuple[list[float], list[float], float]:
    """Coefficients of P and Q in x^2, lowest first, Q's first being 1; and the largest relative error."""
    x = (np.cos(np.pi * (np.arange(POINTS) + 0.5) / POINTS) + 1) / 2 * BOUND
    z, target = (x / BOUND) ** 2, np.tanh(x) / x
    powers = z[:, None] ** np.arange(DEGREE + 1)
    columns = np.concatenate([powers, -target[:, None] * powers[:, 1:]], axis=1)
    weight, q = np.ones_like(x), np.ones_like(x)
    least, best = np.inf, np.zeros(2 * DEGREE + 1)
    for _ in range(ROUNDS):
        scale = weight / (q * target)
        solution = np.linalg.lstsq(columns * scale[:, None], target * scale, rcond=1e-18)[0]
        q = 1 + powers[:, 1:] @ solution[DEGREE + 1 :]
        error = np.abs(powers @ solution[: DEGREE + 1] / q / target - 1)
        if error.max() < least:
            least, best = error.max(), solution
        weight = weight * np.sqrt(error / error.max() + 1e-3)
        weight /= weight.max()
    unscaled = BOUND ** (2.0 * np.arange(DEGREE + 1))
    p, q_all = best[: DEGREE + 1] / unscaled, np.concatenate([[1.0], best[DEGREE + 1 :]]) / unscaled
    return [float(np.float32(v)) for v in p], [float(np.float32(v)) for v in q_all], float(least)


if __name__ == "__main__":
    numerator, denominator, error = fit()
    print(f"P: {numerator}\nQ: {denominator}\nlargest relative error before rounding: {error:.1e}")

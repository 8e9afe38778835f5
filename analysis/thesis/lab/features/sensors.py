"""Made-up sensors: four kinds of raw features, glitches, rows of noise, and drift."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from lab.features.tabular import Map, Table

FEATURES, CLASSES = 20, 4
VALIDATION, TEST, UNLABELLED = 2000, 4000, 2000  # rows
DRIFTS = 2
NORMAL, RAW, REGRESSION = "normal features", "raw features", "regression"
GLITCHES, NOISE = "glitches in training", "rows of noise in training"
TRAININGS = (NORMAL, RAW, REGRESSION, GLITCHES, NOISE)


@dataclass(frozen=True)
class Part:
    """Features (n, 20), and what is to be known of each row."""

    x: Table
    y: Table


@dataclass(frozen=True)
class World:
    """All data of one seed, and the maps that its sensors come to have."""

    train: Part
    validation: Part
    test: Part
    unlabelled: Table
    glitch: Map
    drifts: tuple[Map, ...]


def raw(z: Table) -> Table:
    """Return what is measured of normal z: four kinds of features in turn, all increasing."""
    x = z.copy()
    x[:, 1::4] = 1000 * z[:, 1::4] + 5000
    x[:, 2::4] = np.exp(1.5 * z[:, 2::4])
    x[:, 3::4] = np.tan(np.pi * (ndtr(z[:, 3::4]) - 0.5))
    return x


def teacher(rng: np.random.Generator) -> Map:
    """Return a random network from z to four scores."""
    first = rng.normal(size=(FEATURES, 32)) * 1.5 / np.sqrt(FEATURES)
    second = rng.normal(size=(32, CLASSES)) / np.sqrt(32)
    return lambda z: np.tanh(z @ first) @ second


def labels(training: str, scores: Table, rng: np.random.Generator) -> Table:
    """Return noisy classes, or noisy numbers of variance about 1."""
    if training == REGRESSION:
        return np.asarray(scores[:, 0] / 0.6 + 0.3 * rng.normal(size=len(scores)))
    other = rng.random(len(scores)) < 0.05
    return np.where(other, rng.integers(0, CLASSES, len(scores)), scores.argmax(1))


def drift(rng: np.random.Generator, middle: Table, scale: Table) -> Map:
    """Draw an increasing map for each feature: a power on either side, a gain and a shift."""
    power, gain = rng.uniform(0.5, 2, FEATURES), rng.lognormal(0, 0.7, FEATURES)
    shift = rng.normal(size=FEATURES)

    def moved(x: Table) -> Table:
        u = (x - middle) / scale
        return np.asarray(middle + scale * (shift + gain * np.sign(u) * np.abs(u) ** power))

    return moved


def world(training: str, seed: int, rows: int) -> World:
    """Draw all data of one seed, with so many rows to train on."""
    rng = np.random.default_rng([2017, seed])
    scores = teacher(rng)

    def drawn(size: int) -> Part:
        z = rng.normal(size=(size, FEATURES))
        x = z if training == NORMAL else raw(z)
        return Part(x, labels(training, scores(z), rng))

    train, validation, test, unlabelled = map(drawn, (rows, VALIDATION, TEST, UNLABELLED))
    low, middle, high = np.quantile(train.x, (0.25, 0.5, 0.75), axis=0)
    scale = high - low

    def glitch(x: Table) -> Table:
        wild = middle + 100 * scale * rng.standard_cauchy(x.shape)
        return np.where(rng.random(x.shape) < 0.01, wild, x)

    def noisy(part: Part) -> Part:
        wild = middle + 100 * scale * rng.normal(size=part.x.shape)
        bad = rng.random(len(part.y)) < 0.02
        other = rng.integers(0, CLASSES, len(part.y))
        return Part(np.where(bad[:, None], wild, part.x), np.where(bad, other, part.y))

    drifts = tuple(drift(rng, middle, scale) for _ in range(DRIFTS))
    if training == GLITCHES:
        train, validation = (Part(glitch(part.x), part.y) for part in (train, validation))
    if training == NOISE:
        train, validation = noisy(train), noisy(validation)
    return World(train, validation, test, unlabelled.x, glitch, drifts)

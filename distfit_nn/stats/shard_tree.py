"""States of shards, merged in an order that does not depend on who merges."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, Protocol, Self, TypeVar

from distfit_nn.errors import InputError


class Mergeable(Protocol):
    """What has an in-place merge and a copy."""

    def merge(self, other: Self) -> None:
        """Take the other in."""
        ...

    def copy(self) -> Self:
        """Return one that shares no memory with this."""
        ...


State = TypeVar("State", bound=Mergeable)


class ShardTree(Generic[State]):
    """The states of some of the shards 0, 1, 2, ..., as few as can be.

    Sums of floating-point numbers depend on the order in which they are merged. Here it is that
    of a binary tree over the numbers of the shards: the node (level, i) holds the shards from
    i 2**level up to (i + 1) 2**level, and is made of its two halves as soon as both are there. What
    comes out is a function of the set of shards alone.
    """

    def __init__(self) -> None:
        self._nodes: dict[tuple[int, int], State] = {}

    def __bool__(self) -> bool:
        return bool(self._nodes)

    def add(self, shard: int, state: State) -> None:
        """Add the state of a shard, which is changed from then on.

        Raises
        ------
        InputError
            The shard is there already: its data would be counted twice.
        """
        self._put(0, shard, state)

    def items(self) -> Iterator[tuple[tuple[int, int], State]]:
        """Yield the level and index of each node that is left, and its state."""
        return iter(self._nodes.items())

    def put(self, level: int, index: int, state: State) -> None:
        """Add a node, such as `items` told of; `InputError` if a shard of it is there already."""
        self._put(level, index, state)

    def refuse(self, shard: int) -> None:
        """Raise `InputError` if the shard is there already."""
        self._refuse_overlap(0, shard)

    def merge(self, other: ShardTree[State]) -> None:
        """Add all shards of the other tree, which must not be used any more.

        Raises
        ------
        InputError
            A shard is in both: nothing is added.
        """
        for node in other._nodes:
            self._refuse_overlap(*node)
        for level, index in sorted(other._nodes, reverse=True):
            self._put(level, index, other._nodes[level, index])

    def total(self) -> State:
        """Return all states as one: what is left of the tree, merged from the left."""
        first, *others = sorted(self._nodes, key=lambda node: node[1] << node[0])
        total = self._nodes[first].copy()
        for node in others:
            total.merge(self._nodes[node])
        return total

    def _put(self, level: int, index: int, state: State) -> None:
        self._refuse_overlap(level, index)
        while (level, index ^ 1) in self._nodes:
            sibling = self._nodes.pop((level, index ^ 1))
            left, right = (state, sibling) if index % 2 == 0 else (sibling, state)
            left.merge(right)
            level, index, state = level + 1, index // 2, left
        self._nodes[level, index] = state

    def _refuse_overlap(self, level: int, index: int) -> None:
        start, stop = index << level, (index + 1) << level
        for there, i in self._nodes:
            if i << there < stop and start < (i + 1) << there:
                raise InputError(
                    f"shard {max(start, i << there)} is there already: its data would be counted "
                    "twice; give each shard a number of its own"
                )

"""The order in which shards merge is a function of their numbers alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distfit_nn.errors import InputError
from distfit_nn.stats.shard_tree import ShardTree


class Written:
    """A state that remembers how it was merged."""

    def __init__(self, text):
        self.text = text

    def merge(self, other):
        self.text = f"({self.text} {other.text})"

    def copy(self):
        return Written(self.text)


def tree_of(shards):
    tree = ShardTree()
    for shard in shards:
        tree.add(shard, Written(str(shard)))
    return tree


def test_five_shards_by_hand():
    assert tree_of(range(5)).total().text == "(((0 1) (2 3)) 4)"
    assert tree_of([1, 6, 3, 2]).total().text == "((1 (2 3)) 6)"


@given(st.sets(st.integers(0, 40), min_size=1), st.data())
def test_any_sharing_out_gives_the_same(shards, data):
    expected = tree_of(sorted(shards)).total().text
    order = data.draw(st.permutations(sorted(shards)))
    workers = data.draw(st.lists(st.integers(0, 3), min_size=len(order), max_size=len(order)))
    trees = [tree_of(s for s, w in zip(order, workers, strict=True) if w == k) for k in range(4)]
    first, *others = data.draw(st.permutations(trees))
    for other in others:
        first.merge(other)
    assert first.total().text == expected


@given(st.sets(st.integers(0, 20), min_size=1))
def test_a_total_leaves_the_tree_as_it_is(shards):
    tree = tree_of(shards)
    assert tree.total().text == tree.total().text


@given(st.sets(st.integers(0, 20)), st.sets(st.integers(0, 20)))
def test_what_is_in_both_is_refused(some, others):
    tree = tree_of(some)
    if some & others:
        with pytest.raises(InputError, match="counted twice"):
            tree.merge(tree_of(others))
    else:
        tree.merge(tree_of(others))
        assert bool(tree) == bool(some | others)


def test_a_shard_within_a_merged_node_is_refused():
    tree = tree_of([4, 5, 6, 7])
    with pytest.raises(InputError, match="shard 6 is there already"):
        tree.refuse(6)
    tree.refuse(3)

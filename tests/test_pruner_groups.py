"""A budget shared by groups that are no frames, e.g. tiles."""

from __future__ import annotations

import pytest
import torch

from fsr.errors import InvalidInput
from fsr.pruners import make
from fsr.pruners.frames import divided, with_share
from fsr.tokens import Layout, VisualTokens
from tests.looping import each


def tokens_of(n, seed=0):
    g = torch.Generator().manual_seed(seed)
    return VisualTokens(
        embeddings=torch.randn(n, 8, generator=g),
        layout=Layout.of_grid(1, n),
        features=torch.randn(n, 6, generator=g),
        saliency=torch.rand(n, generator=g),
        relevance=torch.rand(n, generator=g),
    )


@each(
    ("sizes", "budget", "expected"),
    [
        ([10, 10, 10], 9, [3, 3, 3]),
        ([10, 10, 10], 11, [4, 3, 4]),
        ([2, 10, 10], 12, [2, 5, 5]),
        ([1, 2, 9], 12, [1, 2, 9]),
        ([5, 5], 1, [1, 0]),
    ],
)
def test_shares_are_even_and_nothing_is_lost(sizes, budget, expected):
    assert divided(sizes, budget) == expected


@each("method", ["fsr", "saliency", "divprune", "cdpruner"])
def test_each_group_is_pruned_as_if_alone(method):
    """Groups that alternate, so that places within a group and among all tokens differ."""
    tokens, group = tokens_of(30), torch.arange(30) % 3
    selection = with_share(make(method), "per_group", group)(tokens, 14)
    assert len(selection.kept) == 14
    assert selection.kept.tolist() == sorted(set(selection.kept.tolist()))
    for g, k in enumerate((5, 4, 5)):
        m = torch.arange(g, 30, 3)
        alone = VisualTokens(
            embeddings=tokens.embeddings[m],
            layout=Layout.of_grid(1, 10),
            features=tokens.features[m],
            saliency=tokens.saliency[m],
            relevance=tokens.relevance[m],
        )
        expected = make(method)(alone, k)
        inside = group[selection.kept] == g
        assert torch.equal(selection.kept[inside], m[expected.kept])
        assert torch.equal(selection.embeddings[inside], expected.embeddings)
        assert torch.equal(selection.roles[m], expected.roles)
        assert torch.equal(selection.weight[m], expected.weight)
        for i, a in zip(m.tolist(), expected.anchor.tolist(), strict=True):
            assert int(selection.anchor[i]) == (-1 if a < 0 else int(m[a]))


def test_one_group_is_the_method_itself():
    tokens = tokens_of(20)
    whole, one = (
        make("fsr")(tokens, 7),
        with_share(make("fsr"), "per_group", torch.zeros(20, dtype=torch.long))(tokens, 7),
    )
    assert torch.equal(whole.kept, one.kept)
    assert torch.equal(whole.embeddings, one.embeddings)


def test_a_budget_below_the_number_of_groups_is_kept_exactly():
    group = torch.arange(9) % 3
    selection = with_share(make("fsr"), "per_group", group)(tokens_of(9), 2)
    assert sorted(group[selection.kept].tolist()) == [0, 2], "in the order of `schedule`"
    assert len(selection.embeddings) == selection.budget == 2


def test_wrong_groups_and_budgets_are_named():
    with pytest.raises(InvalidInput, match="from 1 to 9"):
        with_share(make("fsr"), "per_group", torch.arange(9) % 3)(tokens_of(9), 10)
    with pytest.raises(InvalidInput, match=r"group must be \(9,\)"):
        with_share(make("fsr"), "per_group", torch.zeros(8, dtype=torch.long))(tokens_of(9), 3)

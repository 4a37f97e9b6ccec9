"""FSR with stages switched off: against the equations in loops, and which parameters are left."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from fsr.errors import InvalidInput
from fsr.pruners import REGISTRY, make
from fsr.tokens import Role, VisualTokens
from tests import references
from tests.looping import each
from tests.methods import no_evidence, random_tokens, same
from tests.references import Margin


def case(seed: int) -> tuple[VisualTokens, float, float, int]:
    """Tokens, alpha, beta and a budget."""
    generator = torch.Generator().manual_seed(seed)
    rows, half = (int(torch.randint(n, (1,), generator=generator)) for n in (5, 3))
    tokens = random_tokens(seed, 1 + rows, 5, 7)
    if half == 0:
        tokens = replace(tokens, embeddings=tokens.embeddings.half())
    alpha, beta = (4 * torch.rand(2, generator=generator)).tolist()
    return tokens, alpha, beta, int(torch.randint(1, len(tokens) + 1, (1,), generator=generator))


def priority(tokens: VisualTokens, alpha: float, beta: float) -> list[float]:
    saliency, relevance = (references.min_max(x.tolist()) for x in (tokens.saliency, tokens.relevance))
    return references.priority(saliency, relevance, alpha, beta)


def test_focus_alone_takes_the_highest_priorities() -> None:
    for seed in range(200):
        tokens, alpha, beta, budget = case(seed)
        phi = priority(tokens, alpha, beta)
        s = make("fsr-focus", alpha=alpha, beta=beta)(tokens, budget)
        order = references.by_value(phi)
        if budget < len(tokens) and phi[order[budget - 1]] - phi[order[budget]] < 1e-6:
            continue
        assert s.kept.tolist() == sorted(order[:budget])
        assert (s.roles[s.kept] == Role.FOCUS).all()
        assert (s.anchor == -1).all()
        assert torch.equal(s.embeddings, tokens.embeddings[s.kept])


def test_focus_alone_is_fsr_while_focus_takes_the_budget() -> None:
    for seed in range(20):
        tokens = random_tokens(seed)
        whole = make("fsr", rho=1.0)(tokens, 1).facts["k_focus"]
        for budget in range(1, whole + 1, 4):
            assert same(make("fsr-focus")(tokens, budget), make("fsr", rho=1.0)(tokens, budget))


def test_scan_alone_starts_at_the_most_salient_token_and_refines() -> None:
    compared = 0
    for seed in range(150):
        tokens, alpha, beta, budget = case(seed)
        phi, saliency = priority(tokens, alpha, beta), tokens.saliency.tolist()
        vectors, margin = tokens.embeddings.double().tolist(), Margin()
        cosines = [[references.cosine(a, b) for b in vectors] for a in vectors]
        first = saliency.index(max(saliency))
        scanned = references.scan(cosines, [first], budget - 1, margin)
        kept = [first, *scanned]
        refined = references.refine(vectors, cosines, phi, kept, scanned, 1.0, margin)
        if margin.gap < references.CLEAR:
            continue
        s = make("fsr-scan", alpha=alpha, beta=beta)(tokens, budget)
        assert (s.roles == Role.FOCUS).nonzero()[:, 0].tolist() == [first]
        assert (s.roles == Role.SCAN).nonzero()[:, 0].tolist() == sorted(scanned)
        assert (s.roles == Role.MERGED).nonzero()[:, 0].tolist() == refined.merged
        assert refined.anchor == {i: a for i, a in enumerate(s.anchor.tolist()) if a >= 0}
        assert {i: float(s.weight[i]) for i in refined.weight} == pytest.approx(refined.weight, abs=1e-4)
        for row, i in zip(s.embeddings, s.kept.tolist(), strict=True):
            assert row.tolist() == pytest.approx(refined.vectors.get(i, vectors[i]), rel=2e-3, abs=2e-3)
        compared += 1
    assert compared > 100


def test_what_scan_alone_keeps_does_not_depend_on_the_question() -> None:
    for seed in range(10):
        tokens = random_tokens(seed)
        for other in (replace(tokens, relevance=None), replace(tokens, relevance=-tokens.relevance)):
            a, b = make("fsr-scan")(tokens, 9), make("fsr-scan")(other, 9)
            assert torch.equal(a.roles, b.roles)
            assert not torch.equal(a.weight, b.weight)
    assert make("fsr-scan")(no_evidence(), 1).kept.tolist() == [11]


def test_without_refine_the_same_tokens_are_kept_as_they_are() -> None:
    changed = 0
    for seed in range(20):
        tokens = random_tokens(seed)
        for budget in range(1, 31, 3):
            s, whole = make("fsr-no-refine", rho=0.4)(tokens, budget), make("fsr", rho=0.4)(tokens, budget)
            assert same(s, make("fsr", rho=0.4, kappa=0.0)(tokens, budget))
            assert torch.equal(s.roles, whole.roles.masked_fill(whole.roles == Role.MERGED, int(Role.DROPPED)))
            assert torch.equal(s.embeddings, tokens.embeddings[s.kept])
            changed += not torch.equal(s.embeddings, whole.embeddings)
    assert changed > 80


@each(
    ("name", "parameters"),
    [
        ("fsr-focus", {"alpha", "beta", "relevance_sign"}),
        ("fsr-scan", {"alpha", "beta", "kappa", "relevance_sign", "similarity"}),
        ("fsr-no-refine", {"alpha", "beta", "rho", "focus_cap", "relevance_sign", "similarity"}),
    ],
)
def test_only_parameters_of_stages_that_run_are_left(name: str, parameters: set[str]) -> None:
    assert set(make(name).parameters()) == {p["name"] for p in REGISTRY[name].describe()["parameters"]} == parameters
    gone = set(make("fsr").parameters()) - parameters
    for parameter in gone:
        with pytest.raises(InvalidInput, match=f"{name} has no parameter '{parameter}'"):
            make(name, **{parameter: 0.5})
    assert make("fsr").parameters().keys() >= parameters  # and FSR has them all still


def test_without_relevance_saliency_is_the_priority() -> None:
    blind = replace(random_tokens(0), relevance=None)
    for budget in (1, 7, 30):
        assert torch.equal(make("fsr-focus")(blind, budget).kept, make("saliency")(blind, budget).kept)
        assert same(make("fsr-no-refine")(blind, budget), make("fsr", kappa=0.0)(blind, budget))

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from drawn_moments import sketched
from hypothesis import given
from hypothesis import strategies as st

from tether.training.batches import as_row
from tether.training.geometry import LARGEST, Geometry
from tether.training.measured import measure
from tether.training.update import linear_layers

if TYPE_CHECKING:
    from pathlib import Path

    from tether.anchors.anchors import AnchorSet
    from tether.chatdata.chats import Chat
    from tether.inference import LocalModel

WIDTH, ROWS = 6, 3
seeds = st.integers(0, 10_000)
pulls = st.floats(1e-3, 1e3)


def random_moment(seed: int) -> torch.Tensor:
    inputs = torch.randn(40, WIDTH, generator=torch.Generator().manual_seed(seed))
    scales = torch.rand(WIDTH, generator=torch.Generator().manual_seed(seed + 1)) + 0.01
    return (inputs * scales).T @ (inputs * scales) / 40


def random_update(seed: int) -> torch.Tensor:
    return torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(seed))


def energy(update: torch.Tensor, moment: torch.Tensor) -> float:
    return float((update @ moment @ update.T).trace())


def cost(kept: torch.Tensor, update: torch.Tensor, geometry: Geometry, pull: float) -> float:
    domain, anchors = (moments["layer"].to(update) for moments in (geometry.domain, geometry.anchors))
    return energy(kept - update, domain) + pull * energy(kept, anchors)


@given(seeds, pulls)
def test_no_other_update_of_no_larger_size_is_a_better_compromise(seed: int, pull: float) -> None:
    geometry = Geometry({"layer": random_moment(seed)}, {"layer": random_moment(seed + 7)})
    update = random_update(seed)
    best = geometry.held("layer", update, pull)
    assert best.norm() <= LARGEST * update.norm() * (1 + 1e-6)
    least = cost(best, update, geometry, pull)
    for step in (0.3, -0.3, 0.01):
        other = best + step * random_update(seed + 99)
        other *= min(1.0, float(update.norm() / other.norm()))
        assert cost(other, update, geometry, pull) >= least * (1 - 1e-3)
    for alpha in (0.0, 0.25, 0.5, 0.75, 1.0):
        assert cost(alpha * update, update, geometry, pull) >= least * (1 - 1e-3), "plain scaling"


@given(seeds, pulls)
def test_a_stronger_pull_disturbs_the_anchors_less(seed: int, pull: float) -> None:
    geometry = Geometry({"layer": random_moment(seed)}, {"layer": random_moment(seed + 7)})
    update, anchors = random_update(seed), geometry.anchors["layer"]
    weaker, stronger = (geometry.held("layer", update, by) for by in (pull, 2 * pull))
    assert energy(stronger, anchors) <= energy(weaker, anchors) * (1 + 1e-2)


@given(seeds, pulls)
def test_of_a_lora_it_is_enough_to_shape_the_first_factor(seed: int, pull: float) -> None:
    geometry = Geometry({"layer": random_moment(seed)}, {"layer": random_moment(seed + 7)})
    first, second = random_update(seed), torch.linalg.qr(random_update(seed + 5).T).Q  # as an update's B
    whole = geometry.held("layer", second @ first, pull)
    assert torch.allclose(second @ geometry.held("layer", first, pull), whole, atol=1e-4)


@given(seeds, pulls)
def test_of_a_sketch_that_shows_all_it_takes_the_same(seed: int, pull: float) -> None:
    domain, anchors, update = random_moment(seed), random_moment(seed + 7), random_update(seed)
    whole = Geometry({"layer": domain}, {"layer": anchors})
    seen = Geometry({"layer": sketched(domain)}, {"layer": sketched(anchors)})
    least, found = (cost(one.held("layer", update, pull), update, whole, pull) for one in (whole, seen))
    assert found == pytest.approx(least, rel=1e-2)


def test_of_a_wide_layer_steps_are_filtered_by_the_diagonals() -> None:
    domain, anchors = torch.tensor([1.0, 1.0, 0.0]), torch.tensor([0.0, 1.0, 1.0])
    geometry = Geometry({"layer": sketched(domain.diag())}, {"layer": sketched(anchors.diag())})
    assert geometry.filter("layer", 3.0).tolist() == pytest.approx([1.0, 0.25, 0.0], abs=1e-3)


def test_what_domain_and_anchors_share_is_shrunk_as_by_a_scale() -> None:
    moment = random_moment(3)
    geometry = Geometry({"layer": moment}, {"layer": moment})
    update = random_update(0)
    assert torch.allclose(geometry.held("layer", update, 1.0), update / 2, atol=1e-5)
    assert torch.equal(geometry.held("norm", update, 1.0), update / 2), "a layer without moments"
    assert geometry.held("layer", update, 0.0) is update


def test_what_the_domain_alone_uses_stays_and_what_anchors_alone_use_goes() -> None:
    domain, anchors = torch.tensor([1.0, 1.0, 0.0]), torch.tensor([0.0, 1.0, 1.0])
    for kind in (torch.diag, lambda diagonal: sketched(diagonal.diag())):  # all, or a wide layer's sketch
        geometry = Geometry({"layer": kind(domain)}, {"layer": kind(anchors)})
        kept = geometry.held("layer", torch.ones(1, 3), 3.0)
        assert kept[0].tolist() == pytest.approx([1.0, 0.25, 0.0], abs=1e-3)


@pytest.mark.parametrize("pull", [0.1, 1.0, 10.0])
def test_the_bound_on_the_size_binds_and_costs_little(pull: float) -> None:
    """On texts of a few hundred kinds of tokens, as a first block sees them."""
    domain, anchors = text_moments()
    geometry = Geometry({"layer": domain}, {"layer": anchors})
    energies, directions = torch.linalg.eigh(domain.double())
    learned = torch.randn(8, len(domain), generator=torch.Generator().manual_seed(5)).double()
    learned = learned * energies.clamp(min=0).sqrt() @ directions.T  # where the domain's inputs are
    held, free = geometry.held("layer", learned, pull), learned @ geometry.filter("layer", pull).double()
    plain = learned * scale_of_least_cost(learned, geometry, pull)
    assert free.norm() > 1.2 * learned.norm(), "without the bound it is enlarged"
    assert held.norm() <= LARGEST * learned.norm() * (1 + 1e-6)
    least, most = (cost(one, learned, geometry, pull) for one in (free, plain))
    assert cost(held, learned, geometry, pull) <= least + 0.25 * (most - least), "three quarters of the gain"


@pytest.mark.parametrize("pull", [0.3, 3.0])
def test_so_it_is_in_a_model(
    live: LocalModel, hotels: list[Chat], anchors: AnchorSet, tmp_path: Path, pull: float
) -> None:
    """Of the first gradient of every layer."""
    texts = [live.renderer.encode(chat).input_ids for chat in hotels]
    geometry = measure(live.model, texts, anchors, tmp_path).geometry()
    rows = [as_row(live.renderer.encode(chat)) for chat in hotels[:4]]
    for row in rows:
        ids, labels = torch.tensor([row["input_ids"]]), torch.tensor([row["labels"]])
        live.model(input_ids=ids, labels=labels).loss.backward()
    layers = linear_layers(live.model)
    grown, costs, least = [], 0.0, 0.0
    for name in geometry.domain:
        layer = Geometry({"layer": geometry.domain[name]}, {"layer": geometry.anchors[name]})
        learned = layers[name].weight.grad
        assert learned is not None
        held, free = layer.held("layer", learned, pull), learned @ layer.filter("layer", pull)
        assert held.norm() <= LARGEST * learned.norm() * (1 + 1e-4), name
        grown.append(float(free.norm() / learned.norm()))
        whole = energy(learned, layer.domain["layer"])
        costs += cost(held, learned, layer, pull) / whole
        least += cost(free, learned, layer, pull) / whole
    assert max(grown) > 1.2, "without the bound some layer's is enlarged"
    assert costs <= 1.1 * least


def text_moments() -> tuple[torch.Tensor, torch.Tensor]:
    """Moments of two texts with the same embeddings and other frequencies of words (Zipf's law)."""
    generator = torch.Generator().manual_seed(3)
    words, width = 300, 96
    embeddings = torch.randn(words, width, generator=generator) / torch.arange(1, width + 1).sqrt()
    made = []
    for _ in range(2):
        counts = (1.5 * torch.randn(words, generator=generator)).exp() / torch.arange(1, words + 1)
        counts *= torch.rand(words, generator=generator) > 0.3  # what the other text alone knows
        made.append(embeddings.T @ (embeddings * (counts / counts.sum()).unsqueeze(1)))
    return made[0], made[1]


def scale_of_least_cost(update: torch.Tensor, geometry: Geometry, pull: float) -> float:
    domain, anchors = (
        energy(update, moments["layer"].to(update)) for moments in (geometry.domain, geometry.anchors)
    )
    return domain / (domain + pull * anchors)

"""What a block of XLNet classifiers costs."""

import numpy as np

from pipeline_lib.models.transformer.memory import ITEMSIZE, BlockSize, block_bytes
from pipeline_lib.models.transformer.settings import Transformer
from pipeline_lib.sampling.epochs import EpochSampler
from pipeline_lib.study.cost import STATISTICS, UPDATE, BlockCost, file_bytes, recorded_and_averaged
from pipeline_lib.study.experiment import EpochExperiment, Experiment


def n_parameters(model: Transformer) -> dict[str, int]:
    """Parameters of the classifier: ``embedding``, ``products`` (matrices) and ``rest``."""
    d, inner = model.d_model, model.d_inner
    matrices = model.n_layer * (5 * d * d + 2 * d * inner) + d * d + 2 * d
    # Of a layer: biases of attention and its segments, two norms, biases; then the summary's bias,
    # the scores' and the embedding of masks.
    rest = model.n_layer * (5 * d + 4 * d + inner + d) + d + 2 + d
    return {"embedding": model.vocabulary * d, "products": matrices, "rest": rest}


def multiply_adds(model: Transformer, n_examples: int) -> int:
    """Multiply-adds of a forward pass over reviews: matrices, and attention to all tokens."""
    d, tokens = model.d_model, model.tokens
    # Scores of contents and of twice as many relative positions, and the weighted values.
    attention = 4 * model.n_layer * tokens * d
    return n_examples * tokens * (n_parameters(model)["products"] + attention)


def block_cost(model: Transformer, experiment: Experiment, b: int) -> BlockCost:
    """The cost of one block; ConfigError if ``b`` is above the examples."""
    assert isinstance(experiment, EpochExperiment)
    replicas, n = experiment.runs_per_block, model.training_examples
    sampler = EpochSampler(
        n,
        b,
        replicas,
        np.random.SeedSequence(0),
        experiment.last_batch,
        sampling=experiment.sampled,
    )
    steps = experiment.epochs * sampler.steps_per_epoch
    recorded, averaged = recorded_and_averaged(experiment, sampler)
    parameters = sum(n_parameters(model).values())
    used = experiment.epochs * int(sampler.batch_sizes_of_epoch.sum())
    evaluations = len(experiment.evaluated_epochs()["training"])
    evaluated = evaluations * (n + model.validation_examples)
    quantities = 1 + (experiment.clipping is not None) + 2 * (averaged > 0)
    operations = replicas * (
        2 * multiply_adds(model, 3 * (used + averaged) + evaluated)
        + steps * parameters * UPDATE
        + quantities * recorded * parameters * STATISTICS
    )
    size = BlockSize(
        parameters,
        model.sizes,
        b,
        model.tokens,
        n,
        n + model.validation_examples,
        experiment.optimizer,
    )
    rows = quantities * recorded
    # Evaluations, and the mini-batches' own means.
    metrics = replicas * (2 * evaluations + experiment.epochs)
    written = (
        file_bytes("statistics", rows)
        + file_bytes("divergence", 0)
        + file_bytes("noise", (averaged > 0) * recorded)
        + file_bytes("metrics", metrics)
    )
    saved = ITEMSIZE * replicas * parameters * (1 + experiment.optimizer.kept)
    return BlockCost(
        steps,
        replicas,
        groups=1,
        parts=1,
        operations=float(operations),
        bytes_resident=block_bytes(size, replicas),
        bytes_written=written,
        bytes_checkpoint=saved,
        # The weights as they are read, a module of them and its copy; the state of a stopped block.
        bytes_beside_gpu=3 * ITEMSIZE * parameters + saved,
    )

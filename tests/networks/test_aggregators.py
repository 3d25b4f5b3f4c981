"""Aggregators: blind to masked slots, in need of every valid one, each equal to its definition."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from networks.aggregators import (
    AGGREGATORS,
    HEADS,
    AttentionLayer,
    SequenceAggregator,
    attention_weights,
    sinusoidal_positions,
)

E, F, T = 6, 8, 5
MASK = torch.tensor([[0.0, 1, 1, 0, 1], [1, 1, 1, 1, 1], [0, 0, 0, 0, 1]])


def built(name, norm=True):
    torch.manual_seed(0)
    return AGGREGATORS[name](E, F, norm=norm).eval()


def embeddings(seed=0):
    return torch.randn(len(MASK), T, E, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("name", AGGREGATORS)
def test_only_and_all_valid_slots_have_an_influence(name, norm):
    aggregator = built(name, norm)
    with torch.inference_mode():
        expected = aggregator(embeddings(), MASK)
        assert expected.shape == (len(MASK), F)
        for window, slot in np.ndindex(*MASK.shape):
            changed = embeddings()
            changed[window, slot] = torch.linspace(-3, 5, E) ** 3
            found = aggregator(changed, MASK)
            if MASK[window, slot]:
                assert (found[window] - expected[window]).abs().max() > 1e-4
                found[window] = expected[window]
            torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", AGGREGATORS)
def test_a_window_without_valid_slots_is_zero(name):
    assert not built(name)(embeddings(), torch.zeros_like(MASK)).any()


@pytest.mark.parametrize("name", AGGREGATORS)
def test_a_window_may_have_any_length_and_its_order_matters(name):
    aggregator, sequence = built(name), embeddings()[:1]
    assert aggregator(sequence.repeat(1, 7, 1), torch.ones(1, 7 * T)).shape == (1, F)
    forwards, backwards = aggregator(sequence, torch.ones(1, T)), aggregator(sequence.flip(1), torch.ones(1, T))
    assert (forwards - backwards).abs().max() > 1e-4


@pytest.mark.parametrize("name", AGGREGATORS)
def test_gradients_reach_every_parameter(name):
    aggregator = built(name).double()
    aggregator(embeddings().double(), MASK.double()).pow(2).sum().backward()
    unreached = {n for n, p in aggregator.named_parameters() if p.grad is None or p.grad.abs().sum() < 1e-9}
    assert not unreached
    if name == "transformer":  # softmax does not see what it adds to all keys of a query
        for layer in aggregator.layers:
            assert layer.query_key_value.bias.grad[F : 2 * F].abs().max() < 1e-12


@pytest.mark.parametrize("bidirectional", [False, True])
def test_lstm_is_the_mean_of_its_outputs_over_valid_slots(bidirectional):
    torch.manual_seed(0)
    aggregator = SequenceAggregator(E, F, bidirectional=bidirectional).eval()
    sequence, mask = embeddings()[0], MASK[0]
    centred = sequence - sequence.mean(1, keepdim=True)
    seen = centred / torch.sqrt(sequence.var(1, correction=0, keepdim=True) + aggregator.norm.eps)
    inputs = torch.cat((seen * mask[:, None], mask[:, None]), 1)
    outputs = []
    for suffix in ("_l0", "_l0_reverse")[: 1 + bidirectional]:
        state, states = None, [None] * T
        cell = nn.LSTMCell(E + 1, F // (1 + bidirectional))
        weights = {n.removesuffix(suffix): v for n, v in aggregator.lstm.state_dict().items() if n.endswith(suffix)}
        cell.load_state_dict(weights)
        for slot in range(T) if suffix == "_l0" else reversed(range(T)):
            state = cell(inputs[slot][None], state)
            states[slot] = state[0][0]
        outputs.append(torch.stack(states))
    expected = torch.cat(outputs, 1)[mask.bool()].mean(0)
    torch.testing.assert_close(aggregator(embeddings(), MASK)[0], expected, atol=1e-5, rtol=1e-4)


def test_attention_rows_sum_to_one_and_spare_masked_slots():
    query, key = torch.randn(2, 3, HEADS, T, 2, generator=torch.Generator().manual_seed(0)) * 5
    weights = attention_weights(query, key, MASK)
    assert weights.shape == (3, HEADS, T, T)
    torch.testing.assert_close(weights.sum(3), torch.ones(3, HEADS, T))
    assert not (weights * (1 - MASK)[:, None, None, :]).any()
    assert attention_weights(query, key, torch.zeros_like(MASK)).isfinite().all()


def test_attention_is_softmax_of_scaled_products():
    query, key = torch.tensor([[[[1.0, 2.0], [0.0, -1.0]]]]), torch.tensor([[[[3.0, 1.0], [1.0, 1.0]]]])
    scores = np.array([[5.0, 3.0], [-1.0, -1.0]]) / math.sqrt(2)
    expected = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    np.testing.assert_allclose(attention_weights(query, key, torch.ones(1, 2))[0, 0], expected, atol=1e-6)


def test_attention_layer_equals_pytorchs_encoder_layer():
    torch.manual_seed(1)
    layer = AttentionLayer(F).eval()
    peer = nn.TransformerEncoderLayer(F, HEADS, 2 * F, 0.0, "gelu", batch_first=True, norm_first=True)
    peer.load_state_dict(
        {
            "self_attn.in_proj_weight": layer.query_key_value.weight,
            "self_attn.in_proj_bias": layer.query_key_value.bias,
            "self_attn.out_proj.weight": layer.output.weight,
            "self_attn.out_proj.bias": layer.output.bias,
            "norm1.weight": layer.attention_norm.weight,
            "norm1.bias": layer.attention_norm.bias,
            "norm2.weight": layer.mlp[0].weight,
            "norm2.bias": layer.mlp[0].bias,
            "linear1.weight": layer.mlp[1].weight,
            "linear1.bias": layer.mlp[1].bias,
            "linear2.weight": layer.mlp[3].weight,
            "linear2.bias": layer.mlp[3].bias,
        }
    )
    x = torch.randn(3, T, F)
    expected = peer(x, src_key_padding_mask=MASK == 0)
    torch.testing.assert_close(layer(x, MASK)[MASK > 0], expected[MASK > 0], atol=1e-5, rtol=1e-5)


def test_positions_are_sines_and_cosines_of_their_number():
    found = sinusoidal_positions(3, 4)
    for slot in range(3):
        expected = [math.sin(slot), math.cos(slot), math.sin(slot / 100), math.cos(slot / 100)]
        np.testing.assert_allclose(found[slot], expected, atol=1e-6)

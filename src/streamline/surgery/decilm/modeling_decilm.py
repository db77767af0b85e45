# SPDX-License-Identifier: Apache-2.0
"""A DeciLM checkpoint written by streamline.cpp: Llama, in which each layer has its own widths and may lack a half.

For transformers 4.57 and 5, with trust_remote_code. A half that is not there has no weights, nor has its norm.
"""

import copy

from torch import nn
from transformers.models.llama.modeling_llama import (
    LlamaAttention,
    LlamaDecoderLayer,
    LlamaForCausalLM,
    LlamaMLP,
    LlamaModel,
    LlamaRMSNorm,
    LlamaRotaryEmbedding,
)

from .configuration_decilm import DeciLMConfig


def attention_of(config, layer, place):
    """The attention of a layer; `place` counts those before it, which is where its keys and values are cached."""
    own = copy.copy(config)
    own.num_key_value_heads = config.kv_heads(layer)
    own.attention_bias = config.qkv_bias
    attention = LlamaAttention(own, place)
    if config.attention_bias != config.qkv_bias:
        attention.o_proj = nn.Linear(attention.o_proj.in_features, config.hidden_size, bias=config.attention_bias)
    return attention


def mlp_of(config, layer):
    own = copy.copy(config)
    own.intermediate_size = config.mlp_width(layer)
    return LlamaMLP(own)


class DeciLMDecoderLayer(LlamaDecoderLayer):
    def __init__(self, config, layer, place):
        super(LlamaDecoderLayer, self).__init__()
        self.hidden_size = config.hidden_size
        block = config.block_configs[layer]
        self.has_attention, self.has_mlp = not block.attention.no_op, not block.ffn.no_op
        if self.has_attention:
            self.input_layernorm = LlamaRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
            self.self_attn = attention_of(config, layer, place)
        if self.has_mlp:
            self.post_attention_layernorm = LlamaRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
            self.mlp = mlp_of(config, layer)

    def forward(self, hidden_states, **settings):
        if self.has_attention:
            added, _ = self.self_attn(hidden_states=self.input_layernorm(hidden_states), **settings)
            hidden_states = hidden_states + added
        if self.has_mlp:
            hidden_states = hidden_states + self.mlp(self.post_attention_layernorm(hidden_states))
        return hidden_states


class DeciLMModel(LlamaModel):
    config_class = DeciLMConfig
    _no_split_modules = ["DeciLMDecoderLayer"]

    def __init__(self, config):
        super(LlamaModel, self).__init__(config)
        self.padding_idx = config.pad_token_id
        self.vocab_size = config.vocab_size
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, self.padding_idx)
        self.layers = nn.ModuleList()
        place = 0
        for layer in range(config.num_hidden_layers):
            self.layers.append(DeciLMDecoderLayer(config, layer, place))
            place += self.layers[-1].has_attention
        self.norm = LlamaRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.rotary_emb = LlamaRotaryEmbedding(config=config)
        self.gradient_checkpointing = False
        self.post_init()


class DeciLMForCausalLM(LlamaForCausalLM):
    config_class = DeciLMConfig
    _no_split_modules = ["DeciLMDecoderLayer"]

    def __init__(self, config):
        super(LlamaForCausalLM, self).__init__(config)
        self.model = DeciLMModel(config)
        self.vocab_size = config.vocab_size
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

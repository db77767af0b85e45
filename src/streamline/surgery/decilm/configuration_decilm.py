# SPDX-License-Identifier: Apache-2.0
"""Configuration of a DeciLM checkpoint written by streamline.cpp: Llama's, with `block_configs`, an entry a layer."""

from transformers import LlamaConfig


class Block(dict):
    """An object of `block_configs`, whose entries are attributes too: vLLM reads `block.attention.no_op`."""

    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


def as_block(value):
    return Block({key: as_block(entry) for key, entry in value.items()}) if isinstance(value, dict) else value


class DeciLMConfig(LlamaConfig):
    model_type = "nemotron-nas"

    # What config.json says as null differs from layer to layer; Llama's own class insists on numbers.
    def __init__(self, block_configs=(), intermediate_size=None, num_key_value_heads=None, qkv_bias=None, **keys):
        super().__init__(**keys)
        self.block_configs = [as_block(block) for block in block_configs]
        self.qkv_bias = self.attention_bias if qkv_bias is None else qkv_bias

    def kv_heads(self, layer):
        return self.num_attention_heads // self.block_configs[layer].attention.n_heads_in_group

    def mlp_width(self, layer):
        """ffn_mult is the width over 2/3 of the hidden size; what comes out is rounded up to a multiple of 256."""
        width = int(2 * self.block_configs[layer].ffn.ffn_mult * self.hidden_size / 3)
        return -(-width // 256) * 256

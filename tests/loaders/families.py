# SPDX-License-Identifier: Apache-2.0
"""Small random checkpoints of each family, in sizes that every loader takes:  families.py OUT [NAME…]

Written by transformers itself (its configuration class and its initialisation), so that nothing of this project enters
them; config.json also says things as hub checkpoints do, in the places where loaders look for them. Heads of 32 components, because vLLM takes no smaller ones.
"""
import json
import pathlib
import sys

import safetensors.torch
import torch
import transformers

LAYERS = 8  # mlx-lm takes no Gemma 3 of fewer than six, of which two are cut
COMMON = {"vocab_size": 512, "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": LAYERS,
          "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256, "bos_token_id": 1,
          "eos_token_id": 2, "pad_token_id": None, "initializer_range": 0.2}

# name: (configuration class, what differs from COMMON)
FAMILIES = {
    "llama": ("LlamaConfig", {"tie_word_embeddings": False}),
    "llama3": ("LlamaConfig", {
        "rope_parameters": {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0,
                            "high_freq_factor": 4.0, "original_max_position_embeddings": 64}}),
    "mistral": ("MistralConfig", {"sliding_window": None, "head_dim": 32}),
    "qwen2": ("Qwen2Config", {"use_sliding_window": False}),
    "qwen3": ("Qwen3Config", {"head_dim": 32, "use_sliding_window": False}),
    "opt": ("OPTConfig", {"ffn_dim": 256, "word_embed_proj_dim": 128, "do_layer_norm_before": True, "pad_token_id": 0,
                          "init_std": 0.2}),
    "gemma2": ("Gemma2Config", {"head_dim": 32, "sliding_window": 64, "query_pre_attn_scalar": 32,
                                "hidden_activation": "gelu_pytorch_tanh"}),
    "gemma3_text": ("Gemma3TextConfig", {"head_dim": 32, "sliding_window": 64, "query_pre_attn_scalar": 32,
                                         "hidden_activation": "gelu_pytorch_tanh"}),
    "phi": ("PhiConfig", {"num_key_value_heads": 4, "partial_rotary_factor": 0.5, "layer_norm_eps": 1e-5,
                          "intermediate_size": 512}),
    "phi3": ("Phi3Config", {"sliding_window": 64, "pad_token_id": 0}),
    "gpt2": ("GPT2Config", {"n_embd": 128, "n_layer": LAYERS, "n_head": 4, "n_positions": 256}),
    "gpt_neox": ("GPTNeoXConfig", {"rotary_pct": 0.25, "intermediate_size": 512}),
    "olmo2": ("Olmo2Config", {"pad_token_id": 0}),
    "olmo3": ("Olmo3Config", {"sliding_window": 64, "pad_token_id": 0}),
    "smollm3": ("SmolLM3Config", {"no_rope_layers": [1, 1, 1, 0, 1, 1, 1, 0], "use_sliding_window": False, "pad_token_id": 0}),
    "granite": ("GraniteConfig", {"embedding_multiplier": 6.0, "attention_multiplier": 0.25, "residual_multiplier": 0.4,
                                  "logits_scaling": 4.0}),
    "falcon": ("FalconConfig", {"num_kv_heads": 2, "new_decoder_architecture": True, "bias": False, "alibi": False,
                                "ffn_hidden_size": 512, "pad_token_id": 0}),
    "glm4": ("Glm4Config", {"head_dim": 32, "attention_bias": True, "partial_rotary_factor": 0.5, "pad_token_id": 0}),
    "starcoder2": ("Starcoder2Config", {"sliding_window": None}),
    "cohere2": ("Cohere2Config", {"sliding_window": 64, "logit_scale": 0.25, "pad_token_id": 0}),
    "mixtral": ("MixtralConfig", {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "qwen2_moe": ("Qwen2MoeConfig", {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64,
                                     "shared_expert_intermediate_size": 96, "use_sliding_window": False,
                                     "decoder_sparse_step": 1, "mlp_only_layers": []}),
    "qwen3_moe": ("Qwen3MoeConfig", {"head_dim": 32, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64,
                                     "norm_topk_prob": True, "mlp_only_layers": []}),
    "llama4_text": ("Llama4TextConfig", {"head_dim": 32, "num_local_experts": 4, "num_experts_per_tok": 1,
                                         "intermediate_size": 64, "intermediate_size_mlp": 256, "interleave_moe_layer_step": 2,
                                         "attention_chunk_size": 8192, "pad_token_id": 0}),
}

FAMILIES["gpt2_bare"] = FAMILIES["gpt2"]  # tensor names without prefix, as OpenAI's own on the hub

# A text model of another family inside a model of several parts: (model class, configuration class, text keys, other keys)
SEVERAL_PARTS = {
    "gemma3": ("Gemma3ForConditionalGeneration", "Gemma3Config",
               {key: value for key, value in {**COMMON, **FAMILIES["gemma3_text"][1]}.items() if key != "pad_token_id"},
               {"vision_config": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2,
                                  "image_size": 28, "patch_size": 14},
                "mm_tokens_per_image": 1, "image_token_index": 500, "boi_token_index": 501, "eoi_token_index": 502}),
}

# Keys that checkpoints on the hub have, other loaders need, and transformers 5 no longer writes.
HUB_KEYS = {
    "gpt2": {"n_ctx": 256},
    "gpt2_bare": {"n_ctx": 256},
    "gpt_neox": {"rotary_pct": 0.25, "rotary_emb_base": 10000},
    "cohere2": {"rotary_pct": 1.0},
    "gemma3_text": {"rope_local_base_freq": 10000.0, "sliding_window_pattern": 6},
}


def add_hub_keys(name, config_file):
    config = json.loads(config_file.read_text())
    rope = config.get("rope_parameters") or {}
    rope = rope.get("full_attention", rope)
    keys = {**HUB_KEYS.get(name, {}), **{key: rope[key] for key in ("rope_theta", "partial_rotary_factor") if key in rope}}
    if rope.get("rope_type", "default") != "default":
        keys["rope_scaling"] = {key: value for key, value in rope.items() if key != "rope_theta"}
    config_file.write_text(json.dumps({**config, **keys}, indent=2))


def strip_prefix(file, prefix):
    tensors = {name.removeprefix(prefix): value for name, value in safetensors.torch.load_file(file).items()}
    safetensors.torch.save_file(tensors, file, metadata={"format": "pt"})


def untrained(name):
    if name in SEVERAL_PARTS:
        model_class, config_class, text, others = SEVERAL_PARTS[name]
        config = getattr(transformers, config_class)(text_config=text, **others)
        return getattr(transformers, model_class)(config).to(torch.bfloat16)
    kind, changes = FAMILIES[name]
    config = getattr(transformers, kind)(**{**COMMON, **changes})
    return transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)


def make(name, folder):
    torch.manual_seed(0)
    model = untrained(name)
    with torch.no_grad():  # norms that are not one, biases that are not zero
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    if name in FAMILIES:
        add_hub_keys(name, folder / "config.json")
    if name == "gpt2_bare":
        strip_prefix(folder / "model.safetensors", "transformer.")


if __name__ == "__main__":
    transformers.utils.logging.set_verbosity_error()
    for wanted in sys.argv[2:] or FAMILIES:
        make(wanted, pathlib.Path(sys.argv[1]) / wanted)

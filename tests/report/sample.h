// SPDX-License-Identifier: Apache-2.0
// A small report with every part: four layers, of which the middle two were replaced. The numbers are made up.
#pragma once

#include "streamline/base/json.h"

namespace streamline::test {

inline Json sample_report() {
  return parse_json(R"({
    "format": 1,
    "run": {"command": ["streamline", "prune", "models/pico", "--data", "two words.txt"], "version": "0.1.0",
            "date": "2025-06-01T09:30:00Z", "seed": 7, "threads": 2, "device": "cpu", "dtype": "bfloat16"},
    "source": {"path": "models/pico/", "family": "llama", "layers": 4, "parameters": 4000000, "bytes": 8000000,
               "digest": "5f1d"},
    "calibration": {"source": "two words.txt", "sequences": 8, "seq_len": 64, "tokens": 512, "digest": "9a0c",
                    "documents": 3},
    "scores": {"layers": 4,
               "cosine": [[1, 0.5, 0.4, 0.3, 0.2], [0.5, 1, 0.95, 0.9, 0.6], [0.4, 0.95, 1, 0.97, 0.7],
                          [0.3, 0.9, 0.97, 1, 0.8], [0.2, 0.6, 0.7, 0.8, 1]],
               "relative_l2": [[0, 2, 2, 2, 2], [2, 0, 0.3, 0.4, 1], [2, 0.3, 0, 0.2, 1], [2, 0.4, 0.2, 0, 1],
                               [2, 1, 1, 1, 0]],
               "states": [{"mean_norm": 2, "largest_over_median": 1.5}, {"mean_norm": 20, "largest_over_median": 90},
                          {"mean_norm": 22, "largest_over_median": 88}, {"mean_norm": 25, "largest_over_median": 80},
                          {"mean_norm": 40, "largest_over_median": 3}],
               "massive_activation_layers": [0]},
    "choice": {"method": "llm-streamline", "cut": 2, "net_layers": 1, "start": 1, "cosine": 0.9, "margin": 0.2,
               "sparsity": 0.25, "protect": [3], "forced": false,
               "windows": [{"start": 1, "cosine": 0.9}, {"start": 2, "cosine": 0.7}, {"start": 0, "cosine": 0.4}]},
    "healing": [{"replacement": "layer", "first": 1, "count": 2, "loss": "mse", "tokens": 300,
                 "trained_parameters": 1000000, "seconds": 65.2, "refused": false,
                 "stages": [{"loss": "mse", "nothing_error": 4.5, "initial_error": 4.5, "best_error": 2.25, "best_step": 3,
                             "steps": [{"step": 1, "tokens": 100, "loss": 4, "learning_rate": 0.001, "gradient_norm": 2},
                                       {"step": 2, "tokens": 200, "loss": 3, "learning_rate": 0.0008, "gradient_norm": 1},
                                       {"step": 3, "tokens": 300, "loss": 2.5, "learning_rate": 0.0002, "gradient_norm": 1}],
                             "validations": [{"step": 0, "error": 4.5}, {"step": 3, "error": 2.25}]}]}],
    "models": [
      {"name": "source", "layers": 4, "parameters": 4000000, "bytes": 8000000, "prefill_tokens_per_second": 1841.2,
       "decode_tokens_per_second": 41.7,
       "perplexity": {"value": 29.4463, "standard_error": 0.211, "tokens": 32704, "bits_per_byte": 1.103}},
      {"name": "cut", "layers": 2, "parameters": 2000000, "bytes": 4000000,
       "perplexity": {"value": 184.7138, "standard_error": 1.72, "tokens": 32704, "bits_per_byte": 1.7}},
      {"name": "healed", "layers": 3, "parameters": 3000000, "bytes": 6000000, "prefill_tokens_per_second": 2204,
       "decode_tokens_per_second": 49.6,
       "perplexity": {"value": 53.1712, "standard_error": 0.41, "tokens": 32704, "bits_per_byte": 1.295}}],
    "stages": [{"name": "score", "seconds": 14.25, "peak_memory": 612000000},
               {"name": "heal", "seconds": 65.2, "peak_memory": 1890000000}],
    "evaluation": {"source": "valid.txt", "window": 512, "stride": 512, "bos": "off", "tokens": 32704},
    "output": {"path": "out", "ordinary": true, "notes": ["three ordinary layers"]},
    "warnings": ["layer 0 makes massive activations"]
  })",
                    "sample report");
}

}  // namespace streamline::test

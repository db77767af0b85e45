// SPDX-License-Identifier: Apache-2.0
#include "streamline/surgery/finish.h"

#include "streamline/surgery/origin.h"

namespace streamline {

void finish_result(OutputDirectory& directory, const std::filesystem::path& out, const Checkpoint& source,
                   const Plan& plan, const AppliedPlan& applied, const ApplyOptions& options, CardFacts facts) {
  facts.name = base_name(out.string());
  facts.source_card = source_card(source);
  facts.layers_after = applied.layers;
  facts.parameters_after = applied.parameters;
  facts.format = applied.format;
  facts.converts = applied.converts;
  facts.notes = applied.notes;
  facts.provenance = options.provenance;
  facts.body = options.card_body;
  facts.pipeline = options.card_pipeline;
  facts.tags = options.card_tags;
  directory.write("README.md", model_card(plan, facts));
  if (options.finish) options.finish(directory, applied);
  directory.commit();
}

}  // namespace streamline

// SPDX-License-Identifier: Apache-2.0
// Reports: the record of a run as JSON, as a table for the terminal, and as one self-contained HTML page.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "streamline/base/json.h"

namespace streamline {

// The part "run" of report.json: command, version, date (UTC, ISO 8601) and seed. Whoever computes adds threads, device
// and dtype.
Json run_record(const std::vector<std::string>& command, std::uint64_t seed);

// A table with aligned columns, two spaces apart; the first row is the heading. A column whose cells are all numbers
// ("84.71 ± 0.72", "1.1 GB", "-") stands to the right. Width is counted in characters of UTF-8, not in bytes.
std::string format_table(const std::vector<std::vector<std::string>>& rows);

// report.json (docs/report.md) as one HTML page that works offline. Parts that are missing, null or of the wrong type
// are left out. Everything that comes from the report is escaped.
std::string report_html(const Json& record);
// The record of `streamline spectra` as such a page.
std::string spectra_html(const Json& record);
// The table that ends `prune`, `heal` and `sparsify`, from report.json: the models, without columns of which nothing
// was measured, then the stages; empty when there are neither.
std::string report_table(const Json& record);

}  // namespace streamline

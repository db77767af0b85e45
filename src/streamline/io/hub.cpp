// SPDX-License-Identifier: Apache-2.0
#include "streamline/io/hub.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <string>

#include "streamline/base/error.h"
#include "streamline/base/file.h"

namespace streamline {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view kScheme = "hf:";

fs::path from_environment(const char* variable) {
  const char* value = std::getenv(variable);
  return value ? fs::path(value) : fs::path();
}

struct Repository {
  std::string name;               // "org/name", or "name" for the hub's oldest models
  std::string revision = "main";  // branch, tag or commit
  bool revision_given = false;
};

Repository parse(std::string_view text) {
  Repository repository;
  const std::size_t at = text.find('@');
  repository.name = text.substr(0, at);
  if (at == std::string_view::npos) return repository;
  repository.revision = text.substr(at + 1);
  repository.revision_given = true;
  return repository;
}

bool is_word(std::string_view word) {
  return !word.empty() && word.front() != '.' && std::all_of(word.begin(), word.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.';
  });
}

// Words joined by slashes, at most `most` of them; none can leave a directory.
bool is_name(std::string_view text, std::size_t most) {
  std::size_t words = 1;
  for (std::size_t slash = text.find('/'); slash != std::string_view::npos; slash = text.find('/'), ++words) {
    if (!is_word(text.substr(0, slash))) return false;
    text.remove_prefix(slash + 1);
  }
  return is_word(text) && words <= most;
}

std::string download_command(const Repository& repository) {
  return "hf download " + repository.name + (repository.revision_given ? " --revision " + repository.revision : "");
}

fs::path folder_of(const Repository& repository, const fs::path& cache) {
  std::string folder = "models--" + repository.name;
  if (const std::size_t slash = folder.find('/'); slash != std::string::npos) folder.replace(slash, 1, "--");
  return cache / folder;
}

// The snapshot of a branch or tag is named in refs/; a commit names it itself.
fs::path snapshot(const Repository& repository, const fs::path& folder) {
  std::string commit = repository.revision;
  if (const fs::path reference = folder / "refs" / commit; fs::is_regular_file(reference)) {
    commit = read_text(reference);
    commit.erase(std::find_if(commit.begin(), commit.end(), [](unsigned char c) { return std::isspace(c) != 0; }),
                 commit.end());
    if (!is_name(commit, 1)) fail(ErrorKind::format, reference.string(), ": holds no commit");
  }
  return folder / "snapshots" / commit;
}

}  // namespace

fs::path hub_cache() {
  if (const fs::path cache = from_environment("HF_HUB_CACHE"); !cache.empty()) return cache;
  if (const fs::path home = from_environment("HF_HOME"); !home.empty()) return home / "hub";
  if (const fs::path caches = from_environment("XDG_CACHE_HOME"); !caches.empty())
    return caches / "huggingface" / "hub";
  if (const fs::path home = from_environment("HOME"); !home.empty()) return home / ".cache" / "huggingface" / "hub";
  return {};
}

fs::path find_model(std::string_view name, const fs::path& cache) {
  const bool by_scheme = name.starts_with(kScheme);
  if (std::error_code error; !by_scheme && fs::exists(fs::path(name), error)) return fs::path(name);
  const Repository repository = parse(by_scheme ? name.substr(kScheme.size()) : name);
  const bool is_repository = is_name(repository.name, 2) && is_name(repository.revision, 8) &&
                             (by_scheme || repository.name.find('/') != std::string::npos);
  if (by_scheme && !is_repository)
    fail(ErrorKind::usage, name, ": not a repository's name; write hf:org/name or hf:org/name@revision");
  if (!is_repository) return fs::path(name);  // whoever opens it says that it is not there
  const fs::path folder = folder_of(repository, cache);
  const fs::path found = snapshot(repository, folder);
  if (std::error_code error; fs::is_directory(found, error)) return found;
  fail(ErrorKind::io, name, ": no such file or directory, and not in the Hugging Face cache (",
       cache.empty() ? "HOME is not set" : cache.string(), "); get it with `", download_command(repository), "`");
}

fs::path find_model(std::string_view name) { return find_model(name, hub_cache()); }

}  // namespace streamline

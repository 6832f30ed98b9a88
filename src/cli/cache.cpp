#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "cache/definition.h"
#include "cache/fan_out.h"
#include "cache/restore_cache.h"
#include "cache/save_cache.h"
#include "cache/scope.h"
#include "cache/side_by_side.h"
#include "cache/yaml_value.h"
#include "cli/cache_report.h"
#include "cli/choice.h"
#include "cli/command.h"
#include "cli/describe.h"
#include "cli/protected_paths.h"

namespace thaw::cli {
namespace {

// The requests of one cache wait for one another; a few caches at once fill the time.
constexpr unsigned kConcurrency = 4;
constexpr int64_t kMostConcurrency = 64;
// What a job would wait for at most, where nobody says otherwise.
constexpr std::chrono::minutes kTimeout{10};

constexpr const char* kFooter = R"(Examples:
  thaw cache restore                 all caches of .thaw/cache.yml
  thaw cache save node
  thaw cache restore --name node --key v1 --key '{checksum: package-lock.json}' --path node_modules

.thaw/cache.yml (or .buildkite/cache.yml; --file FILE):
  caches:
    - name: node
      cache_key: ["v1", {agent: os}, {fallback_limit: true}, {checksum: package-lock.json}, {env: NODE_ENV}]
      target_paths: [node_modules, ~/.npm]
    - preset: cargo

A job reads its branch's entries, then its base's, then the default branch's, and writes only its own; a
fork's job writes nothing. Nothing that goes wrong fails the job, unless --strict; a file that is wrong does
(exit 2). A store must be named, else nothing is done. docs/cache.md says the rest.)";

class Cache final : public Command {
 public:
  CLI::App& declare(CLI::App& parent) override;
  Output output() const override { return Output::outcome; }
  Reach reach() const override { return Reach::through_tiers; }
  Result<> check() override;
  std::optional<bool> advisory() const override { return !strict_; }
  std::optional<std::chrono::milliseconds> default_timeout() const override { return kTimeout; }
  std::string subject() const override { return what_; }
  Outcome run(Session& session) override;

 private:
  Result<> check_definition();
  Result<std::vector<cache::Definition>> definitions(cache::Job& job) const;
  Result<cache::Job> job_for(const Session& session) const;
  void summarize(const std::optional<std::string>& of_the_ci,
                 const std::vector<cache::Record>& records, Timestamp now) const;

  std::string what_;
  std::vector<std::string> names_;
  std::optional<std::string> file_;
  std::optional<std::string> name_;
  std::vector<std::string> key_;
  std::vector<std::string> path_;
  std::vector<std::string> agent_;
  std::optional<std::string> write_;
  std::optional<std::string> summary_;
  int64_t concurrency_ = kConcurrency;
  bool strict_ = false;
  bool force_ = false;

  CacheVerb verb_ = CacheVerb::restore;
  std::optional<cache::Definition> defined_;
  std::optional<cache::WritePolicy> policy_;
};

CLI::App& Cache::declare(CLI::App& parent) {
  CLI::App& app = *parent.add_subcommand("cache", "Restore and save a CI job's caches");
  app.footer(kFooter);
  add_choice(app, "WHAT", what_, {"restore", "save"}, "Before the job's work, or after it")
      ->required();
  app.add_option("NAMES", names_, "These caches of the file alone")
      ->type_name("NAME")
      ->expected(0, static_cast<int>(cache::kMostCaches));
  app.add_option("--file", file_, "The file that says what to cache")->type_name("FILE");
  auto repeated = [&app](const char* name, std::vector<std::string>& values, const char* type,
                         const char* text) {
    app.add_option(name, values, text)->allow_extra_args(false)->type_name(type);
  };
  app.add_option("--name", name_, "Without a file: the cache's name")->type_name("NAME");
  repeated("--key", key_, "PART", "Without a file: a part of its key (repeated)");
  repeated("--path", path_, "PATH", "Without a file: a target path (repeated)");
  repeated("--agent", agent_, "NAME=VALUE",
           "Over what the CI says: branch, base, default, pr, tag, fork, project, step, "
           "pipeline, os, arch (repeated)");
  app.add_option("--write", write_, "Who may save: always, never, or \"branches: [main]\"")
      ->type_name("RULE");
  app.add_option("--concurrency", concurrency_, "So many caches at once (default: 4)")
      ->type_name("N");
  app.add_option("--summary", summary_, "Append the table to this file, as Markdown")
      ->type_name("FILE");
  app.add_flag("--force", force_, "save: also what is there already");
  app.add_flag("--strict", strict_, "What fails, misses or is empty fails the job");
  return app;
}

Result<> Cache::check() {
  verb_ = what_ == "save" ? CacheVerb::save : CacheVerb::restore;
  if (force_ && verb_ == CacheVerb::restore)
    return Error(Code::invalid, "cache restore takes no --force");
  if (concurrency_ < 1 || concurrency_ > kMostConcurrency) {
    return Error(Code::invalid,
                 fmt::format("--concurrency is a number from 1 to {}", kMostConcurrency));
  }
  if (write_) {
    THAW_ASSIGN(policy_, cache::WritePolicy::parse(*write_).within("--write"));
  }
  cache::CiFacts unused;
  for (const std::string& each : agent_)
    THAW_CHECK(cache::set_fact(unused, each).within("--agent"));
  for (const std::string& each : names_) THAW_CHECK(cache::check_name(each));
  return check_definition();
}

Result<> Cache::check_definition() {
  const bool in_words = name_ || !key_.empty() || !path_.empty();
  if (!in_words) return {};
  if (file_ || !names_.empty())
    return Error(Code::invalid, "--name, --key and --path are for a cache without a file");
  if (!name_) return Error(Code::invalid, "a cache without a file needs --name");
  THAW_ASSIGN(defined_, cache::define_cache(*name_, key_, path_));
  return {};
}

// Those below a home that is not known are nowhere.
std::vector<std::string> places_of_targets(const std::vector<cache::Definition>& caches,
                                           const cache::Anchors& anchors) {
  std::vector<std::string> places;
  for (const cache::Definition& each : caches) {
    for (const cache::Target& target : each.targets) {
      if (auto path = target.path(anchors)) places.push_back(*std::move(path));
    }
  }
  return places;
}

// The caches that are wanted; tells the job where the targets of all lie.
Result<std::vector<cache::Definition>> Cache::definitions(cache::Job& job) const {
  const cache::Anchors& anchors = job.anchors;
  if (defined_) {
    std::vector<cache::Definition> only = {*defined_};
    THAW_CHECK(cache::check_side_by_side(only, anchors));
    job.all_targets = places_of_targets(only, anchors);
    return only;
  }
  std::string file;
  if (file_) {
    file = *file_;
  } else {
    THAW_ASSIGN(file, cache::find_cache_file(anchors.working_directory));
  }
  THAW_ASSIGN(const ByteVector text, read_regular_file(file, cache::kYamlBytes));
  THAW_ASSIGN(auto all, cache::parse_cache_file(as_text(text.view()), file));
  // Whatever names choose: another job may restore the others at the same time.
  THAW_CHECK(cache::check_side_by_side(all, anchors));
  job.all_targets = places_of_targets(all, anchors);
  if (names_.empty()) return all;
  std::vector<cache::Definition> chosen;
  for (const std::string& name : names_) {
    const auto named = [&](const cache::Definition& each) { return each.name == name; };
    const auto found = std::find_if(all.begin(), all.end(), named);
    if (found == all.end())
      return Error(Code::invalid, fmt::format("{} has no cache \"{}\"", file, name));
    if (std::none_of(chosen.begin(), chosen.end(), named)) chosen.push_back(*found);
  }
  return chosen;
}

Result<cache::Job> Cache::job_for(const Session& session) const {
  std::error_code fault;
  const std::string directory = std::filesystem::current_path(fault).string();
  if (fault) return Error(Code::internal, "the working directory is gone");
  cache::CiFacts facts = cache::read_ci(session.environment);
  for (const std::string& each : agent_) THAW_CHECK(cache::set_fact(facts, each));
  const cache::WritePolicy& policy = policy_ ? *policy_ : session.config.cache_write;
  std::vector<std::string> scopes = cache::scopes_of(facts);
  std::optional<std::string> may_not_write = policy.refusal(facts);
  std::vector<std::string> skip;
  if (session.opened.local_path) skip.push_back(*session.opened.local_path);
  const auto stat_cache = stat_cache_dir(session);
  if (stat_cache) skip.push_back(*stat_cache);
  return cache::Job{.store = session.store(),
                    .environment = session.environment,
                    .facts = std::move(facts),
                    .scopes = std::move(scopes),
                    .may_not_write = std::move(may_not_write),
                    .anchors = {directory, session.locations.home.value_or("")},
                    .protected_paths = protected_paths(session),
                    .skip = std::move(skip),
                    .stat_cache_dir = stat_cache,
                    .damage_dir = damage_dir(session),
                    .compression_level = session.config.compression_level,
                    .threads = session.config.threads,
                    .distance = session.distance(),
                    .force = force_};
}

Result<> append(const std::string& file, const std::string& text) {
  // A FIFO would be waited for, until somebody reads it.
  constexpr int kFlags = O_WRONLY | O_APPEND | O_CREAT | O_NOCTTY | O_NONBLOCK;
  THAW_ASSIGN(const UniqueFd fd, open_path(file, kFlags, 0666));
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) return errno_error(errno, "look at " + file);
  if (!S_ISREG(status.st_mode)) return Error(Code::invalid, file + " is not a regular file");
  return write_all(fd.get(), as_bytes(text), file);
}

// Best-effort: a job does not fail for what it says of itself.
void Cache::summarize(const std::optional<std::string>& of_the_ci,
                      const std::vector<cache::Record>& records, Timestamp now) const {
  const auto& file = summary_ ? summary_ : of_the_ci;
  if (!file) return;
  const auto written = append(*file, cache_markdown(verb_, records, now));
  if (!written) log::warn("the job's summary was not written: {}", written.error().text());
}

// One write, so that lines of several threads never mix.
void say_line(const cache::Record& record) {
  if (!log::enabled(log::Level::warning)) return;
  const std::string line = "thaw: " + cache_line(record) + '\n';
  [[maybe_unused]] const ssize_t n = ::write(STDERR_FILENO, line.data(), line.size());
}

Outcome Cache::run(Session& session) {
  // The embedded store would be gone with the machine.
  if (!session.config.store)
    return wrong_usage("no store is named", "name one by --store, THAW_STORE or the configuration");
  auto job = job_for(session);
  if (!job) return failure(job.error());
  const auto wanted = definitions(*job);
  if (!wanted) return wrong_usage(wanted.error().text(), "thaw cache --help");
  session.progress.begin(verb_ == CacheVerb::save ? "saving caches" : "restoring caches", 0,
                         wanted->size());
  const auto done = [&](const cache::Record& record) {
    ++session.progress.files_done;
    say_line(record);
  };
  const auto& work = verb_ == CacheVerb::save ? cache::save_cache : cache::restore_cache;
  const auto records = cache::fan_out(session.context, *job, *wanted,
                                      static_cast<unsigned>(concurrency_), work, done);
  const Timestamp now = system_clock().now();
  summarize(job->facts.summary, records, now);
  return cache_outcome(verb_, records, now);
}

}  // namespace

std::unique_ptr<Command> make_cache() { return std::make_unique<Cache>(); }

}  // namespace thaw::cli

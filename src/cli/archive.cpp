#include "cli/archive.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

#include "archive/streams.h"
#include "cli/choice.h"
#include "cli/describe.h"
#include "cli/text.h"
#include "format/key.h"
#include "snapshot/glob.h"
#include "snapshot/transfer.h"

namespace thaw::cli {
namespace {

constexpr const char* kFooter = R"(Examples:
  thaw archive get 's3://ci/cache.tgz?endpoint=http://10.0.0.7:7480' ./cache
  thaw archive get release.tar.xz ./release --strip-components 1
  thaw archive put ./cache s3://ci/cache.tar.zst
  thaw archive put ./build build.tgz --prefix build-1.2
  thaw archive import s3://ci/cache.tgz ci/cache
  thaw archive export ci/cache@3 s3://ci/cache.tgz

Words and what follows them:
  get URL|FILE DIR             DIR becomes what the archive holds, in one step
  put DIR URL|FILE             the archive becomes what DIR holds; it appears whole or not at all
  import URL|FILE KEY          the archive becomes the next generation of KEY
  export KEY[@N] URL|FILE      the archive becomes the snapshot, the same bytes every time

URL is a store's, with the archive's name behind the bucket. What is read is tar: plain, gzip, zstd or xz, whatever its
name. What is written is tar.zst, tar.gz or tar, by --format or by the name (.tgz, .tar.gz, .tar.zst, .tzst, .tar).

An archive is not trusted: no name in it leads out of DIR, and one that tries to fails the whole, and is named.
docs/archive.md has the rest.)";

struct Word {
  std::vector<std::string> options;  // beyond those that all take
  Reach reach;
  Outcome (*run)(const Session&, const ArchiveOptions&);
};

const std::map<std::string, Word>& words() {
  static const std::map<std::string, Word> kWords = {
      {"get",
       {{"--mode", "--strip-components", "--devices", "--no-owner", "--no-xattrs"},
        Reach::elsewhere,
        archive_get}},
      {"put",
       {{"--prefix", "--format", "--level", "--exclude", "--allow-empty", "--allow-shrink"},
        Reach::elsewhere,
        archive_put}},
      {"import",
       {{"--strip-components", "--devices", "--label", "--allow-empty", "--allow-shrink"},
        Reach::through_tiers,
        archive_import}},
      {"export", {{"--prefix", "--format", "--level"}, Reach::through_tiers, archive_export}},
  };
  return kWords;
}

class Archive final : public Command {
 public:
  CLI::App& declare(CLI::App& parent) override;
  Output output() const override { return Output::outcome; }
  Reach reach() const override { return words().at(options_.word).reach; }
  bool needs_store() const override { return reach() != Reach::elsewhere; }
  Result<> check() override;
  std::string subject() const override {
    return options_.args.empty() ? options_.word : options_.word + " " + options_.args.front();
  }
  Outcome run(Session& session) override {
    return words().at(options_.word).run(session, options_);
  }

 private:
  Result<> check_options() const;
  Result<> check_arguments() const;

  CLI::App* app_ = nullptr;
  ArchiveOptions options_;
};

CLI::App& Archive::declare(CLI::App& parent) {
  CLI::App& app = *parent.add_subcommand("archive", "Read and write tar archives in buckets");
  app_ = &app;
  app.footer(kFooter);
  std::vector<std::string> names;
  for (const auto& [name, word] : words()) names.push_back(name);
  add_choice(app, "WHAT", options_.word, names, "What to do; see below")->required();
  app.add_option("ARGS", options_.args, "What the word takes: DIR, URL, FILE, KEY")
      ->expected(0, 2)
      ->type_name("DIR");
  add_choice(app, "--mode", options_.mode, {"replace", "merge", "sync"},
             "get: what becomes of what is in DIR (default: replace)");
  app.add_option("--strip-components", options_.strip_components,
                 "get, import: take so many folders off the front of each name")
      ->type_name("N");
  app.add_flag("--devices", options_.devices, "get, import: allow device nodes");
  app.add_flag("--no-owner", options_.no_owner, "get: everything belongs to who runs thaw");
  app.add_flag("--no-xattrs", options_.no_xattrs, "get: leave extended attributes out");
  app.add_option("--prefix", options_.prefix, "put, export: names begin with this folder")
      ->type_name("NAME");
  add_choice(app, "--format", options_.format, {"tar.zst", "tar.gz", "tar"},
             "put, export: what to write (default: by the name)");
  app.add_option("--level", options_.level,
                 "put, export: of compression; gzip 1 to 12 (default: 6), zstd 1 to 19 (3)")
      ->type_name("N");
  app.add_option("--exclude", options_.exclude,
                 "put: leave these files and directories out (repeated)")
      ->allow_extra_args(false)
      ->type_name("GLOB");
  app.add_option("--label", options_.label, "import: keep this with the generation (repeated)")
      ->allow_extra_args(false)
      ->type_name("NAME=VALUE");
  app.add_flag("--allow-empty", options_.allow_empty, "put, import: even if nothing is in it");
  app.add_flag("--allow-shrink", options_.allow_shrink,
               "put, import: even if it is far smaller than what was there");
  return app;
}

Result<> Archive::check_options() const {
  const Word& word = words().at(options_.word);
  for (const CLI::Option* option : app_->get_options()) {
    if (option->get_positional() || option->count() == 0) continue;
    const std::string name = option->get_name();
    if (std::find(word.options.begin(), word.options.end(), name) != word.options.end()) continue;
    return Error(Code::invalid, fmt::format("archive {} takes no {}", options_.word, name));
  }
  return {};
}

Result<> Archive::check_arguments() const {
  const std::vector<std::string>& args = options_.args;
  if (args.size() != 2) {
    return Error(Code::invalid, fmt::format("archive {} takes 2 words, and {} are given",
                                            options_.word, args.size()));
  }
  const bool archive_first = options_.word == "get" || options_.word == "import";
  const std::string& name = args[archive_first ? 0 : 1];
  const std::string& other = args[archive_first ? 1 : 0];
  THAW_CHECK(check_archive_name(name));
  if (options_.word == "import") {
    THAW_ASSIGN(const Key key, Key::parse(other));
  } else if (options_.word == "export") {
    THAW_ASSIGN(const KeyRef ref, KeyRef::parse(other));
  } else if (other.empty()) {
    return Error(Code::invalid, "DIR is empty");
  }
  if (archive_first) return {};
  THAW_ASSIGN(const archive::Format format, format_of(options_, name));
  return archive::check_level(format, options_.level).within("--level");
}

Result<> Archive::check() {
  THAW_CHECK(check_options());
  THAW_CHECK(check_arguments());
  for (const std::string& glob : options_.exclude) THAW_CHECK(check_glob(glob).within("--exclude"));
  THAW_CHECK(parse_labels(options_.label).within("--label"));
  std::string& prefix = options_.prefix;
  while (prefix.ends_with('/')) prefix.pop_back();
  // As strict as for an object's name: it is to be a folder below where somebody unpacks it.
  if (!prefix.empty()) THAW_CHECK(ObjectKey::parse(prefix).within("--prefix"));
  return {};
}

}  // namespace

Result<archive::Format> format_of(const ArchiveOptions& options, const std::string& name) {
  auto format = options.format.empty() ? archive::format_of_name(name.substr(0, name.find('?')))
                                       : archive::parse_format(options.format);
  if (format) return *format;
  return Error(Code::invalid, "the name does not say what to write: --format does");
}

archive::BlockStream stream_of(const OpenedArchive& archive) {
  if (archive.path) return archive::file_stream(*archive.path);
  return archive::object_stream(*archive.store, *archive.key);
}

Result<std::unique_ptr<archive::ArchiveSink>> sink_of(const Context& context,
                                                      const OpenedArchive& archive) {
  if (archive.path) return archive::file_sink(*archive.path);
  return archive::object_sink(context, *archive.store, *archive.parts, *archive.key,
                              transfer_limits(StoreDistance::remote).uploads);
}

Outcome archive_failure(const Error& error, const OpenedArchive& archive) {
  if (error.code() == Code::not_found) return miss(error.text());
  Outcome outcome = failure(error);
  if (outcome.status == Status::usage && archive.meter->refused > 0) {
    outcome.status = Status::failed;
  }
  return outcome;
}

void describe_trace(const RestoreTrace& trace, Outcome& outcome) {
  if (trace.placement) outcome.fields["placement"] = name_of_placement(*trace.placement);
  outcome.fields["applied"] = trace.applied;
  if (trace.applied) {
    outcome.hint = "some names in PATH are old and some new; the same command again completes it";
  }
}

void describe_get(const archive::GetReport& report, const std::string& from,
                  const std::string& path, Outcome& outcome) {
  Fields& fields = outcome.fields;
  fields["compression"] = archive::name_of(report.compression);
  add_totals(fields, report.totals);
  fields["placement"] = name_of_placement(report.placement);
  fields["fetched_bytes"] = report.fetched_bytes;
  fields["passed_over"] = report.passed_over;
  fields["written"] = report.written;
  fields["removed"] = report.removed;
  fields["attributes_skipped"] = report.attributes_skipped;
  std::string& text = outcome.summary;
  text = fmt::format("unpacked {} to {}\n", printable(from), printable(path));
  text += fmt::format("  tree      {}\n", totals_text(report.totals));
  text += fmt::format("  fetched   {}, {}\n", human_size(report.fetched_bytes),
                      report.compression == archive::Compression::none
                          ? "not compressed"
                          : archive::name_of(report.compression));
  if (report.placement == Placement::in_place) {
    text += fmt::format("  changed   {} placed, {} removed\n", counted(report.written, "name"),
                        grouped(report.removed));
  }
  if (report.attributes_skipped > 0) {
    text +=
        fmt::format("  left out  {} attributes, owners and devices that could not be set here\n",
                    grouped(report.attributes_skipped));
  }
}

std::unique_ptr<Command> make_archive() { return std::make_unique<Archive>(); }

}  // namespace thaw::cli

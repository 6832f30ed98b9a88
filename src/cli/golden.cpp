#include "cli/golden.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>

#include "app/duration.h"
#include "app/share.h"
#include "cli/choice.h"
#include "cli/command.h"
#include "cli/describe.h"
#include "golden/name.h"

namespace thaw::cli {
namespace {

constexpr const char* kFooter = R"(Examples:
  thaw golden promote shop ./build --quiesce 2s --scrub '*.sock' --scrub '*.pid'
  thaw golden promote shop ./build --if-generation 7 --success-file ./build/.ok
  thaw golden promote shop ./build --publish golden/shop      and a snapshot in the store
  thaw golden build shop --if-missing -- npm ci     COMMAND runs in a scratch folder, once
  thaw golden warm shop api --newest                fetch what the store has and this machine lacks
  thaw golden clone shop ./sandbox                  the current generation, as cheaply as it goes
  thaw golden clone shop@3 ./sandbox --overlay      in constant time; writes lie apart
  thaw golden unclone ./sandbox
  thaw golden ls
  thaw golden show shop@3
  thaw golden rollback shop                         to the generation before; shop@3: to that one
  thaw golden rm shop@3 --yes                       without @N: all of it
  thaw golden gc --keep-last 3 --unused 7d --min-free 15% --yes

Words and what follows them:
  promote NAME DIR      DIR's content becomes the next generation; DIR is moved where it can be
  build NAME -- COMMAND run COMMAND in an empty folder, and promote that; once however many ask
  publish NAME          save the current generation in the store, under golden/NAME or --key
  warm NAME...          fetch the newest published generation of what this machine lacks
  clone NAME[@N] DIR    make a private, writable copy; DIR is missing or empty; a NAME that this
                        machine lacks is fetched
  unclone DIR           unmount and remove a clone
  ls                    the goldens of this machine
  show NAME[@N]         generations, or one of them
  rollback NAME[@N]     make an older generation current
  rm NAME[@N]           remove a generation, or all; --yes does it
  gc [NAME]             remove what is no longer wanted; --yes does it

Goldens lie in $XDG_DATA_HOME/thaw/golden, or THAW_GOLDEN_ROOT. docs/golden.md has the rest.)";

constexpr size_t kManyWords = 4096;

// The parser takes -1 for the highest number there is.
const CLI::Range kCount(int64_t{0}, int64_t{1'000'000'000'000});

struct Word {
  size_t least;  // arguments
  size_t most;
  std::vector<std::string> options;  // beyond those that all take
  Outcome (*run)(const Session&, const golden::Root&, const GoldenOptions&);
};

const std::map<std::string, Word>& words() {
  static const std::map<std::string, Word> kWords = {
      {"promote",
       {2,
        2,
        {"--if-generation", "--quiesce", "--scrub", "--success-file", "--started-at", "--stamp",
         "--source", "--label", "--allow-empty", "--allow-shrink", "--min-free", "--publish"},
        golden_promote}},
      {"build",
       {2,
        kManyWords,
        {"--no-wait", "--if-missing", "--scrub", "--stamp", "--source", "--label", "--allow-empty",
         "--allow-shrink", "--min-free", "--publish"},
        golden_build}},
      {"publish", {1, 1, {"--key"}, golden_publish}},
      {"warm", {1, kManyWords, {"--key", "--newest", "--min-free"}, golden_warm}},
      {"clone", {2, 2, {"--overlay", "--min-free", "--key"}, golden_clone}},
      {"unclone", {1, 1, {}, golden_unclone}},
      {"ls", {0, 0, {}, golden_ls}},
      {"show", {1, 1, {}, golden_show}},
      {"rollback", {1, 1, {}, golden_rollback}},
      {"rm", {1, 1, {"--yes", "--dry-run"}, golden_rm}},
      {"gc", {0, 1, {"--keep-last", "--unused", "--min-free", "--yes", "--dry-run"}, golden_gc}},
  };
  return kWords;
}

// "1764208800" or "1764208800.25": seconds since 1970, as `date +%s.%N` prints them.
Result<int64_t> parse_instant(const std::string& text) {
  double seconds = 0;
  const char* end = text.data() + text.size();
  const auto [stop, fault] = std::from_chars(text.data(), end, seconds, std::chars_format::fixed);
  if (fault != std::errc() || stop != end || seconds < 0 || seconds > 9e9)
    return Error(Code::invalid, "\"" + text + "\" is no instant: seconds since 1970");
  return static_cast<int64_t>(seconds * 1e9);
}

class Golden final : public Command {
 public:
  CLI::App& declare(CLI::App& parent) override;
  Output output() const override { return Output::outcome; }
  Reach reach() const override { return Reach::through_tiers; }
  Result<> check() override;
  std::string subject() const override {
    return options_.args.empty() ? options_.word : options_.word + " " + options_.args.front();
  }
  // What lies on this machine needs none, so that it is there when none is named.
  bool needs_store() const override {
    return options_.word == "publish" || options_.word == "warm" || options_.publish.has_value();
  }
  Outcome run(Session& session) override;

 private:
  void declare_promote(CLI::App& app);
  void declare_store(CLI::App& app);
  Result<> check_keys();
  Result<> check_names() const;
  Result<> check_words() const;
  Result<> check_stamp() const;

  CLI::App* app_ = nullptr;
  GoldenOptions options_;
  std::optional<std::string> publish_;
  std::optional<std::string> key_;
  std::optional<std::string> quiesce_;
  std::optional<std::string> started_at_;
  std::optional<std::string> min_free_;
  std::optional<std::string> unused_;
  std::vector<std::string> label_;
  bool dry_run_ = false;
  bool single_writer_ = false;
};

void Golden::declare_promote(CLI::App& app) {
  app.add_option("--if-generation", options_.if_generation,
                 "promote: only if N is current (0: if there is none)")
      ->check(kCount)
      ->type_name("N");
  app.add_option("--quiesce", quiesce_, "promote: only if nothing changes for so long")
      ->type_name("TIME");
  app.add_option("--scrub", options_.scrub, "promote: remove what matches (repeated)")
      ->allow_extra_args(false)
      ->type_name("GLOB");
  app.add_option("--success-file", options_.success_file,
                 "promote: only if this file is there; it is removed")
      ->type_name("FILE");
  app.add_option("--started-at", started_at_,
                 "promote: the session's start (seconds since 1970), which the success file must "
                 "not be older than")
      ->type_name("SECONDS");
  app.add_option("--stamp", options_.stamp, "promote: golden.json lies at this path in each clone")
      ->type_name("PATH");
  app.add_option("--source", options_.source, "promote: the session's id, for golden.json")
      ->type_name("ID");
  app.add_option("--label", label_, "promote: a label for golden.json (repeated)")
      ->allow_extra_args(false)
      ->type_name("NAME=VALUE");
  app.add_flag("--allow-empty", options_.allow_empty, "promote: even if nothing is in DIR");
  app.add_flag("--allow-shrink", options_.allow_shrink,
               "promote: even if DIR is far smaller than the current generation");
}

void Golden::declare_store(CLI::App& app) {
  app.add_option("--publish", publish_,
                 "promote, build: save it in the store under this key, after the switch")
      ->type_name("KEY");
  app.add_option("--key", key_, "publish, warm, clone: its key in the store (default: golden/NAME)")
      ->type_name("KEY");
  app.add_flag("--newest", options_.newest,
               "warm: also where the store has a newer one than this machine");
  app.add_flag("--no-wait", options_.no_wait, "build: `busy` where somebody else builds it");
  app.add_flag("--if-missing", options_.if_missing,
               "build: only where this machine has no generation");
}

CLI::App& Golden::declare(CLI::App& parent) {
  CLI::App& app = *parent.add_subcommand("golden", "Keep trees ready on this machine");
  app_ = &app;
  app.footer(kFooter);
  std::vector<std::string> names;
  for (const auto& [name, word] : words()) names.push_back(name);
  add_choice(app, "WHAT", options_.word, names, "What to do; see below")->required();
  app.add_option("ARGS", options_.args, "What the word takes: NAME, NAME[@N], DIR, COMMAND")
      ->expected(0, static_cast<int>(kManyWords))
      ->type_name("DIR");
  declare_promote(app);
  declare_store(app);
  app.add_flag("--overlay", options_.overlay,
               "clone: mount an overlay; a copy where that is not to be had");
  app.add_option("--min-free", min_free_,
                 "promote, clone: refuse below this share of free space; gc: make so much free")
      ->type_name("SHARE%");
  app.add_option("--keep-last", options_.keep_last, "gc: keep so many generations (default: 3)")
      ->check(kCount)
      ->type_name("N");
  app.add_option("--unused", unused_, "gc: what nobody cloned for so long goes")->type_name("TIME");
  app.add_flag("--dry-run", dry_run_, "rm, gc: only say what would go (the default)");
  app.add_flag("--yes", options_.yes, "rm, gc: do it; without this, only say what would go");
  app.add_flag("--single-writer", single_writer_,
               "No other machine uses this golden root, whose filesystem may lack locks");
  return app;
}

Result<> Golden::check_words() const {
  const Word& word = words().at(options_.word);
  const size_t given = options_.args.size();
  if (given < word.least || given > word.most) {
    const std::string wanted = word.least == word.most ? fmt::format("{} words", word.least)
                               : word.most == kManyWords
                                   ? fmt::format("{} words or more", word.least)
                                   : fmt::format("{} to {} words", word.least, word.most);
    return Error(Code::invalid,
                 fmt::format("golden {} takes {}, and {} are given", options_.word, wanted, given));
  }
  for (const CLI::Option* option : app_->get_options()) {
    if (option->get_positional() || option->count() == 0) continue;
    const std::string name = option->get_name();
    if (name == "--single-writer" ||
        std::find(word.options.begin(), word.options.end(), name) != word.options.end()) {
      continue;
    }
    return Error(Code::invalid, fmt::format("golden {} takes no {}", options_.word, name));
  }
  return {};
}

Result<> Golden::check_stamp() const {
  if (!options_.stamp) return {};
  // One slash at each end stands for an empty part there, too.
  const std::string padded = "/" + *options_.stamp + "/";
  const bool climbs = padded.find("/../") != std::string::npos ||
                      padded.find("/./") != std::string::npos ||
                      padded.find("//") != std::string::npos;
  if (!climbs) return {};
  return Error(Code::invalid,
               "--stamp takes a path below DIR, and \"" + *options_.stamp + "\" is none");
}

Result<> Golden::check() {
  THAW_CHECK(check_words());
  THAW_CHECK(check_stamp());
  if (options_.yes && dry_run_)
    return Error(Code::invalid, "--yes and --dry-run exclude each other");
  if (quiesce_) {
    THAW_ASSIGN(options_.quiesce, parse_duration(*quiesce_).within("--quiesce"));
  }
  if (started_at_) {
    THAW_ASSIGN(options_.started_at_ns, parse_instant(*started_at_).within("--started-at"));
  }
  if (min_free_) {
    THAW_ASSIGN(options_.min_free, parse_share(*min_free_).within("--min-free"));
  }
  if (unused_) {
    THAW_ASSIGN(options_.unused, parse_duration(*unused_).within("--unused"));
  }
  THAW_ASSIGN(options_.labels, parse_labels(label_));
  THAW_CHECK(check_keys());
  return check_names();
}

Result<> Golden::check_keys() {
  if (publish_) {
    THAW_ASSIGN(options_.publish, Key::parse(*publish_).within("--publish"));
  }
  if (!key_) return {};
  if (options_.word == "warm" && options_.args.size() > 1)
    return Error(Code::invalid, "--key is the key of one NAME");
  THAW_ASSIGN(options_.key, Key::parse(*key_).within("--key"));
  return {};
}

Result<> Golden::check_names() const {
  if (options_.word == "unclone" || options_.args.empty()) return {};
  const bool is_numbered = options_.word == "clone" || options_.word == "show" ||
                           options_.word == "rollback" || options_.word == "rm";
  const size_t names = options_.word == "warm" ? options_.args.size() : 1;
  for (size_t i = 0; i < names; ++i) {
    auto ref = golden::Ref::parse(options_.args[i]);
    if (!ref) return std::move(ref).error();
    if (ref->generation && !is_numbered)
      return Error(Code::invalid, "golden " + options_.word + " takes a NAME without @N");
  }
  return {};
}

Outcome Golden::run(Session& session) {
  const auto writers =
      single_writer_ ? golden::Writers::this_machine_alone : golden::Writers::several_machines;
  auto root = golden::open_root(session.locations.golden, writers);
  if (!root) return failure(root.error());
  root->builds_around = session.environment(golden::kBuildsVariable).value_or("");
  return words().at(options_.word).run(session, *root, options_);
}

}  // namespace

Outcome golden_failure(const Error& error) {
  // What else is not found (a folder that was renamed meanwhile) is no miss.
  const std::string& message = error.message();
  const bool is_miss = message.starts_with("no golden ") ||
                       message.find(" is no clone") != std::string::npos ||
                       message.find(" has no generation older ") != std::string::npos;
  if (error.code() != Code::not_found || !is_miss) return failure(error);
  return miss(error.text(), "`thaw golden ls` lists the goldens");
}

std::unique_ptr<Command> make_golden() { return std::make_unique<Golden>(); }

}  // namespace thaw::cli

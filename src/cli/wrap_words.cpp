#include "cli/wrap_words.h"

#include <fmt/format.h>
#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "app/duration.h"
#include "app/locations.h"
#include "base/environment.h"
#include "cli/choice.h"
#include "cli/describe.h"
#include "cli/requests.h"
#include "cli/store_place.h"
#include "run/event_sink.h"
#include "snapshot/glob.h"

namespace thaw::cli {
namespace {

constexpr const char* kFooter = R"(Examples:
  thaw run --key site/shop/deps --path ./node_modules \
      --ready-http http://127.0.0.1:3000/health -- npm start
  thaw run --key ci/deps --path ~/.cache/deps --ready-exit -- make all
  thaw run --key shop --path /srv/shop --path /srv/cache,key=shop-cache,store=s3://b/p \
      --ready-notify --save-on-exit --events fd:3 -- /srv/shop/bin/server

Restores each path, starts COMMAND, and once that is ready, and nothing below the paths has changed for
a while, saves them behind it. Nothing that fails keeps COMMAND from its start. The exit code is
COMMAND's: 128 + N where signal N ended it, 127 where there is no such file, 126 where it cannot be
executed. Without a store nothing is done but COMMAND.

COMMAND inherits neither THAW_* and DECO_CACHE_* variables nor descriptors that options name. Signals
are passed on to it. docs/run.md has the rest.)";

std::string home() {
  if (const auto named = locate(process_environment()).home) return *named;
  const struct passwd* user = ::getpwuid(::getuid());
  return user != nullptr && user->pw_dir != nullptr ? user->pw_dir : "";
}

bool is_or_holds(const std::string& path, const std::string& other) {
  return path == other || path == "/" || other.starts_with(path + "/");
}

// "DIR,key=K,store=URL": what follows a name we do not know belongs to what is before it.
RunPath parse_path_words(const std::string& text) {
  constexpr std::string_view kKey = ",key=";
  constexpr std::string_view kStore = ",store=";
  RunPath path;
  size_t end = std::min({text.find(kKey), text.find(kStore), text.size()});
  path.path = text.substr(0, end);
  while (end < text.size()) {
    const bool is_key = text.compare(end, kKey.size(), kKey) == 0;
    const size_t begin = end + (is_key ? kKey : kStore).size();
    end = std::min({text.find(kKey, begin), text.find(kStore, begin), text.size()});
    (is_key ? path.key : path.store) = text.substr(begin, end - begin);
  }
  return path;
}

}  // namespace

Result<std::string> path_to_keep(const std::string& text) {
  if (text.empty()) return Error(Code::invalid, "a path is empty");
  std::error_code fault;
  std::string path = std::filesystem::absolute(text, fault).lexically_normal().string();
  if (fault) return Error(Code::invalid, "there is no working directory for " + text);
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  const std::string real = resolved_path(path);
  if (real == "/") return Error(Code::invalid, text + " is the root directory");
  const std::string own = home();
  if (!own.empty() && own != "/" && is_or_holds(real, resolved_path(own)))
    return Error(Code::invalid, text + " is the home directory, or holds it");
  return path;
}

Result<> refuse_overlaps(const std::vector<RunPath>& paths,
                         const std::optional<std::string>& events) {
  std::vector<std::string> real;
  real.reserve(paths.size());
  for (const RunPath& path : paths) real.push_back(resolved_path(path.path));
  for (size_t one = 0; one < paths.size(); ++one) {
    for (size_t other = 0; other < paths.size(); ++other) {
      if (one != other && is_or_holds(real[one], real[other]))
        return Error(Code::invalid,
                     paths[other].path + " lies in " + paths[one].path + ", which is a path too");
    }
    if (events && !run::names_descriptor(*events) && is_or_holds(real[one], resolved_path(*events)))
      return Error(Code::invalid, "the file of --events, " + *events + ", lies in " +
                                      paths[one].path + ", which is restored: name another place");
  }
  return {};
}

CLI::App& WrapWords::declare(CLI::App& parent) {
  CLI::App& app = *parent.add_subcommand(
      "run", "Run a command on restored directories, and save them when it is ready");
  app.footer(kFooter);
  declare_paths(app);
  declare_readiness(app);
  declare_times(app);
  app.add_option("--events", events_, "Write one JSON object for each step there")
      ->type_name("FILE|fd:N");
  app.add_option("--await-config", await_config_,
                 "As --config-json, but it may come late; COMMAND is started without it")
      ->type_name("fd:N");
  app.add_option("COMMAND", command_, "What to run, behind --")
      ->required()
      ->expected(1, -1)
      ->type_name("COMMAND");
  return app;
}

void WrapWords::declare_paths(CLI::App& app) {
  auto repeated = [&app](const char* name, std::vector<std::string>& values, const char* type,
                         const char* text) {
    app.add_option(name, values, text)->allow_extra_args(false)->type_name(type);
  };
  app.add_option("--key", key_,
                 "The key of the path; of several paths without keys of their own each gets "
                 "KEY/NAME by its last name")
      ->type_name("KEY");
  repeated("--path", path_, "DIR[,key=KEY][,store=URL]", "What is restored and saved (repeated)");
  repeated("--fallback", fallback_, "KEY",
           "Try this key when there is no such snapshot (repeated)");
  add_choice(app, "--mode", mode_, {"replace", "merge", "sync"},
             "What becomes of what is at a path (default: replace)");
  repeated("--label", label_, "NAME=VALUE", "Keep this with what is saved (repeated)");
  repeated("--exclude", exclude_, "GLOB", "Save without these files and directories (repeated)");
  repeated("--image", image_, "GLOB", "Disk or memory images (repeated)");
  add_choice(app, "--unchanged-by", unchanged_by_, {"all", "content"},
             "What must be equal to count as unchanged (default: content)");
  app.add_flag("--allow-empty", allow_empty_, "Save a tree with nothing but directories in it");
  app.add_flag("--allow-shrink", allow_shrink_, "Save a tree that is far smaller than the newest");
}

void WrapWords::declare_readiness(CLI::App& app) {
  app.add_option("--ready-http", ready_http_, "Ready when this URL answers (200 to 399)")
      ->type_name("URL");
  app.add_option("--ready-status", ready_status_, "with this status")->type_name("N");
  app.add_option("--ready-body", ready_body_, "and a body in which this pattern is found")
      ->type_name("REGEX");
  app.add_option("--ready-tcp", ready_tcp_, "Ready when this place takes a connection")
      ->type_name("HOST:PORT");
  app.add_option("--ready-file", ready_file_, "Ready when this file is there, and is new")
      ->type_name("FILE");
  app.add_option("--ready-fd", ready_fd_, "Ready when COMMAND writes a line to this descriptor")
      ->type_name("N");
  app.add_flag("--ready-notify", ready_notify_, "Ready when COMMAND says so by sd_notify");
  app.add_flag("--ready-exit", ready_exit_, "Ready when COMMAND ends with exit code 0");
  app.add_option("--ready-after", ready_after_, "Ready when COMMAND has run for so long")
      ->type_name("TIME");
}

void WrapWords::declare_times(CLI::App& app) {
  auto time = [&app](const char* name, std::string& value, const char* text) {
    app.add_option(name, value, text)->type_name("TIME");
  };
  time("--restore-timeout", restore_timeout_,
       "COMMAND is started no later, restored or not (default: 15s)");
  time("--settle", settle_, "Save when nothing has changed for so long (default: 2s)");
  time("--save-timeout", save_timeout_, "Give a save up after so long (default: 5m)");
  time("--await-timeout", await_timeout_, "COMMAND waits so long for --await-config (default: 3s)");
  app.add_flag("--save-on-exit", save_on_exit_,
               "When COMMAND ends before it is saved, save it then; without --ready-…, as "
               "--ready-exit");
}

Result<> WrapWords::check() {
  THAW_CHECK(check_times());
  THAW_CHECK(check_readiness_words());
  if (key_) THAW_CHECK(Key::parse(*key_).within("--key"));
  THAW_CHECK(check_paths());
  THAW_ASSIGN(parsed_fallbacks_, parse_keys(fallback_));
  if (!fallback_.empty() && path_.size() > 1)
    return Error(Code::invalid,
                 "--fallback goes with one path: of several, which would it be for?");
  THAW_ASSIGN(labels_, parse_labels(label_));
  for (const std::string& glob : exclude_) THAW_CHECK(check_glob(glob).within("--exclude"));
  for (const std::string& glob : image_) THAW_CHECK(check_glob(glob).within("--image"));
  for (const auto& [name, value] :
       {std::pair("--events", &events_), std::pair("--await-config", &await_config_)}) {
    if (*value && run::names_descriptor(**value))
      THAW_CHECK(run::descriptor_number(**value).within(name));
  }
  if (command_.front().empty()) return Error(Code::invalid, "COMMAND is empty");
  return {};
}

Result<> WrapWords::check_times() {
  THAW_ASSIGN(restore_ms_, parse_duration(restore_timeout_).within("--restore-timeout"));
  THAW_ASSIGN(save_ms_, parse_duration(save_timeout_).within("--save-timeout"));
  THAW_ASSIGN(settle_ms_, parse_duration(settle_).within("--settle"));
  THAW_ASSIGN(await_ms_, parse_duration(await_timeout_).within("--await-timeout"));
  return {};
}

Result<> WrapWords::check_readiness_words() {
  using Kind = run::Readiness::Kind;
  int given = 0;
  auto choose = [&](bool is_given, Kind kind, const std::string& target = "") {
    if (!is_given) return;
    ++given;
    readiness_.kind = kind;
    readiness_.target = target;
  };
  choose(ready_http_.has_value(), Kind::http, ready_http_.value_or(""));
  choose(ready_tcp_.has_value(), Kind::tcp, ready_tcp_.value_or(""));
  choose(ready_file_.has_value(), Kind::file, ready_file_.value_or(""));
  choose(ready_fd_.has_value(), Kind::fd);
  choose(ready_notify_, Kind::notify);
  choose(ready_exit_, Kind::exit);
  choose(ready_after_.has_value(), Kind::after);
  if (given > 1) return Error(Code::invalid, "COMMAND is ready by one --ready-… option alone");
  if ((ready_status_ || ready_body_) && !ready_http_)
    return Error(Code::invalid, "--ready-status and --ready-body go with --ready-http");
  readiness_.status = ready_status_;
  readiness_.body_pattern = ready_body_.value_or("");
  readiness_.number = ready_fd_.value_or(-1);
  if (ready_after_) {
    THAW_ASSIGN(readiness_.after, parse_duration(*ready_after_).within("--ready-after"));
  }
  if (save_on_exit_ && given == 0) readiness_.kind = Kind::exit;
  // What is ready by its end is saved at its end.
  if (readiness_.kind == Kind::exit) save_on_exit_ = true;
  return run::check_readiness(readiness_);
}

Result<> WrapWords::check_paths() {
  for (const std::string& text : path_) {
    RunPath path = parse_path_words(text);
    THAW_ASSIGN(path.path, path_to_keep(path.path).within("--path"));
    if (path.key) THAW_CHECK(Key::parse(*path.key).within("--path"));
    parsed_paths_.push_back(std::move(path));
  }
  return refuse_overlaps(parsed_paths_, events_);
}

void WrapWords::apply_to(RestoreRequest& request) const {
  request.fallbacks = parsed_fallbacks_;
  request.mode = restore_mode(mode_);
}

void WrapWords::apply_to(SaveRequest& request) const {
  request.labels = labels_;
  request.exclude = exclude_;
  request.image = image_;
  request.unchanged_by = unchanged_by_ == "all" ? UnchangedBy::all : UnchangedBy::content;
  if (allow_empty_) request.policy.allow_empty = true;
  if (allow_shrink_) request.policy.allow_shrink = true;
}

}  // namespace thaw::cli

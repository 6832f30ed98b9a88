// Command: what one word of the command line does. One file each.
#pragma once

#include <CLI/App.hpp>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "app/config.h"
#include "app/locations.h"
#include "app/open_store.h"
#include "base/context.h"
#include "base/result.h"
#include "cli/outcome.h"
#include "snapshot/progress.h"
#include "snapshot/transfer.h"

namespace thaw::cli {

// What a command works with. Outlives its run.
struct Session {
  const Context& context;
  const Config& config;
  const Locations& locations;
  const Environment& environment;
  OpenedStore& opened;
  Progress& progress;

  ObjectStore& store() const { return *opened.store; }
  uint64_t requests() const { return opened.meter->requests(); }
  StoreDistance distance() const {
    return opened.local_path ? StoreDistance::local : StoreDistance::remote;
  }
};

// What a command writes to standard output: what its Outcome says, or, while it runs, bytes of its
// own.
enum class Output { outcome, bytes };

// Whether tiers may answer what a command reads, or the store alone: who looks for damage in the
// store must not be shown what a tier has kept of it. Elsewhere: it names the place itself, and
// the store that is configured, or is not, is nothing to it.
enum class Reach { through_tiers, past_tiers, elsewhere };

// Used once, by one thread: declared, parsed into, checked, run.
class Command {
 public:
  virtual ~Command() = default;
  virtual Output output() const = 0;
  virtual Reach reach() const = 0;
  // Adds the subcommand; parsing writes into this object.
  virtual CLI::App& declare(CLI::App& parent) = 0;
  // Turns words into values. Touches nothing; every error is wrong usage.
  virtual Result<> check() = 0;
  // Whether an advisory command without a named store does nothing.
  virtual bool needs_store() const { return true; }
  // Whether it runs under --advisory, where the command itself says so, whatever the configuration
  // does; and its time limit where nobody names one.
  virtual std::optional<bool> advisory() const { return std::nullopt; }
  virtual std::optional<std::chrono::milliseconds> default_timeout() const { return std::nullopt; }
  // What it works on, for messages: "site/shop@3".
  virtual std::string subject() const = 0;
  virtual Outcome run(Session& session) = 0;
};

std::unique_ptr<Command> make_save();
std::unique_ptr<Command> make_restore();
std::unique_ptr<Command> make_ls();
std::unique_ptr<Command> make_inspect();
std::unique_ptr<Command> make_diff();
std::unique_ptr<Command> make_rm();
std::unique_ptr<Command> make_verify();
std::unique_ptr<Command> make_read();
std::unique_ptr<Command> make_extract();
std::unique_ptr<Command> make_gc();
std::unique_ptr<Command> make_invalidate();
std::unique_ptr<Command> make_tier();
std::unique_ptr<Command> make_doctor();
std::unique_ptr<Command> make_golden();
std::unique_ptr<Command> make_archive();
std::unique_ptr<Command> make_cache();

}  // namespace thaw::cli

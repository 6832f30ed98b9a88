#include "cli/report.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/bytes.h"
#include "base/log.h"
#include "cli/signals.h"
#include "cli/text.h"

namespace thaw::cli {
namespace {

// 0, or errno.
int write_to(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = ::write(fd, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno;
    text.remove_prefix(static_cast<size_t>(n));
  }
  return 0;
}

// A standard error that takes nothing is no reason to fail: nobody could be told.
void say(std::string_view line) { write_to(STDERR_FILENO, fmt::format("thaw: {}\n", line)); }

std::string sentence(const Outcome& outcome, const std::string& subject) {
  std::string message = printable(outcome.message);
  // The engine's errors may begin with what was being done already ("save ./tree: …").
  const std::string verb = subject.substr(0, subject.find(' ')) + ' ';
  if (subject.empty() || message.starts_with(verb)) return message;
  return fmt::format("{}: {}", printable(subject), message);
}

void complain(const Outcome& outcome, Advice advice, const std::string& subject) {
  if (outcome.status == Status::done) {
    if (!outcome.hint.empty() && log::enabled(log::Level::warning)) say(outcome.hint);
    return;
  }
  if (advice == Advice::advisory && outcome.status != Status::usage) {
    // A miss is what a cold start looks like; nobody need act on it. Where nothing is done at all
    // somebody forgot something.
    const bool expected = outcome.status == Status::miss;
    const bool hinted = outcome.status == Status::disabled;
    log::write(
        expected ? log::Level::info : log::Level::warning,
        sentence(outcome, subject) + (hinted ? "; " + outcome.hint : "") + " (advisory: going on)");
    return;
  }
  say(sentence(outcome, subject));
  if (!outcome.hint.empty()) say("hint: " + printable(outcome.hint));
}

// "saved x@1\n  tree …" -> "saved x@1 in 0.52 s\n  tree …"
std::string with_time(std::string summary, std::chrono::milliseconds took) {
  const size_t end = summary.find('\n');
  if (end != std::string::npos) summary.insert(end, " in " + seconds(took));
  return summary;
}

std::string text_for_people(const Outcome& outcome, Form form, std::chrono::milliseconds took) {
  if (form == Form::quiet_text || outcome.summary.empty()) return outcome.listing;
  return outcome.listing + with_time(outcome.summary, took);
}

}  // namespace

int report(const Outcome& outcome, Form form, Advice advice, const std::string& subject,
           std::chrono::milliseconds took) {
  complain(outcome, advice, subject);
  const std::string text =
      form == Form::json ? as_json(outcome, took) : text_for_people(outcome, form, took);
  const int fault = claim_result() ? write_to(STDOUT_FILENO, text) : 0;
  result_is_told();
  if (fault != 0 && fault != EPIPE) {
    say(fmt::format("write to standard output: {}", std::strerror(fault)));
    if (outcome.status == Status::usage) return exit_code(outcome, advice);
    return exit_code(Status::failed, advice);
  }
  return exit_code(outcome, advice);
}

void report_stats(const OpenedStore& opened, const std::string& name) {
  const StoreMeter& meter = *opened.meter;
  say(
      fmt::format("stats: {}: {} gets, {} puts, {} finds, {} lists, {} removes, {} errors; "
                  "{} fetched, {} stored",
                  name, meter.gets, meter.puts, meter.finds, meter.lists, meter.removes,
                  meter.errors, human_size(meter.fetched_bytes), human_size(meter.stored_bytes)));
  for (const OpenedTier& tier : opened.tiers) {
    const TierMeter& each = *tier.meter;
    say(fmt::format(
        "stats: tier {}: {} hits, {} misses, {} stepped over, {} failures, {} corrupt; "
        "{} taken, {} from below; {} fills ({}), {} dropped, {} failed, {} made room; "
        "hits within {} us (half), {} us (99%)",
        tier.name, each.hits, each.misses, each.stepped_over, each.failures, each.corrupt,
        human_size(each.hit_bytes), human_size(each.miss_bytes), each.fills,
        human_size(each.filled_bytes), each.fills_dropped, each.fills_failed, each.evicted,
        each.hit_latency.quantile_us(0.5), each.hit_latency.quantile_us(0.99)));
    if (!tier.has_index) continue;
    say(fmt::format("stats: tier {}: index: {} notes, {} dropped, {} failures, {} rebuilt",
                    tier.name, each.notes, each.notes_dropped, each.index_failures,
                    each.index_rebuilt));
  }
}

void report_chain(const ObjectStore& store) { say("store: " + store.describe()); }

}  // namespace thaw::cli

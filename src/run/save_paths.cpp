#include "run/save_paths.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace thaw::run {
namespace {

using std::chrono::milliseconds;
using Clock = Context::Clock;

constexpr int kMostRounds = 3;

int64_t ms_since(Clock::time_point began) {
  return std::chrono::duration_cast<milliseconds>(Clock::now() - began).count();
}

bool holds(const std::vector<std::string>& paths, const std::string& path) {
  return std::find(paths.begin(), paths.end(), path) != paths.end();
}

std::string outcome_name(SaveOutcome outcome) {
  switch (outcome) {
    case SaveOutcome::saved:
      return "saved";
    case SaveOutcome::unchanged:
      return "unchanged";
    case SaveOutcome::refused_empty:
      return "empty";
    case SaveOutcome::refused_shrunken:
      return "shrunken";
  }
  return "saved";
}

Event saved_event(const PathName& name, const SaveReport& report) {
  const bool stands =
      report.outcome == SaveOutcome::saved || report.outcome == SaveOutcome::unchanged;
  Event event = event_of_path("save", name, stands);
  event["reason"] = outcome_name(report.outcome);
  if (stands) event["generation"] = report.generation;
  if (stands) event["snapshot"] = report.ids.snapshot.hex();
  event["files"] = report.totals.files;
  event["bytes"] = report.totals.bytes;
  event["new_bytes"] = report.new_bytes;
  return event;
}

class PathSaver {
 public:
  PathSaver(const WorkerCalls& calls, const OpenPath& open, const SavePlan& plan)
      : calls_(calls), open_(open), plan_(plan) {}

  void run() {
    for (size_t number = 0; number < plan_.names.size(); ++number) {
      const PathName& name = plan_.names[number];
      if (holds(plan_.half_restored, name.path)) {
        calls_.reporter.tell(failed_event("save", name, "half_restored",
                                          "its restore ended half-way, and is not the whole"));
      } else if (!holds(plan_.done, name.path)) {
        left_.push_back(number);
      }
    }
    bool hurried = false;
    for (int round = 1; !left_.empty(); ++round) {
      const auto settled = settle_all();
      if (!settled) return;
      // What COMMAND did at its end is no fault of the rounds before.
      if (settled->hurried && !std::exchange(hurried, true)) round = 1;
      save_all(settled->marks, round >= kMostRounds);
    }
  }

 private:
  // An error when it is all over.
  Result<Settled> settle_all() const {
    SettleRequest request{
        .left_out = plan_.left_out, .quiet = plan_.quiet, .command = plan_.command};
    for (const PathName& name : plan_.names) request.paths.push_back(name.path);
    const Clock::time_point began = Clock::now();
    StopFlag at_once;
    at_once.stop();
    auto settled = settle(calls_.context, plan_.settles ? calls_.hurry : at_once, request);
    if (settled && !settled->hurried)
      calls_.reporter.tell({{"event", "settled"}, {"ms", ms_since(began)}});
    return settled;
  }

  void save_all(const std::vector<Mark>& marks, bool is_last_round) {
    std::vector<size_t> again;
    for (const size_t number : left_) {
      const Clock::time_point began = Clock::now();
      const Context bounded = calls_.context.within(plan_.timeout);
      bool busy = false;
      Event event = save_one(bounded, number, marks[number], busy);
      if (busy && !is_last_round) {
        again.push_back(number);
        continue;
      }
      event["ms"] = ms_since(began);
      calls_.reporter.tell(event);
    }
    left_ = std::move(again);
  }

  // Only when what the mark is of is still there.
  Event save_one(const Context& context, size_t number, const Mark& mark, bool& busy) const {
    const PathName& name = plan_.names[number];
    auto opened = open_(calls_.context, number);
    if (!opened)
      return failed_event("save", name, std::string(thaw::name_of(opened.error().code())),
                          opened.error().text());
    if (opened->store == nullptr || !opened->save)
      return failed_event("save", name, "unsupported", "no key is named to save under");
    opened->save->before_publishing = [&](const Context& inner) -> Result<> {
      THAW_ASSIGN(const Mark now, mark_tree(inner, name.path, plan_.left_out));
      if (now && now == mark) return {};
      return Error(Code::busy, name.path + " changed while it was saved");
    };
    const auto report = save(context, *opened->store, *opened->save, nullptr);
    if (report) return saved_event(name, *report);
    busy = report.error().code() == Code::busy;
    return failed_event("save", name, std::string(thaw::name_of(report.error().code())),
                        report.error().text());
  }

  const WorkerCalls& calls_;
  const OpenPath& open_;
  const SavePlan& plan_;
  std::vector<size_t> left_;  // numbers of the paths that are still to be saved
};

}  // namespace

void save_paths(const WorkerCalls& calls, const OpenPath& open, const SavePlan& plan) {
  PathSaver(calls, open, plan).run();
}

bool may_be_saved_later(const Event& save) {
  if (save.value("ok", false)) return false;
  const std::string reason = save.value("reason", "");
  return reason != "half_restored" && reason != "shrunken" && reason != "unsupported" &&
         reason != "invalid";
}

}  // namespace thaw::run

#include "cache/fan_out.h"

#include <chrono>
#include <mutex>

#include "base/task_group.h"
#include "cache/side_by_side.h"

namespace thaw::cache {

const char* name_of(State state) {
  switch (state) {
    case State::restored:
      return "restored";
    case State::equal:
      return "equal";
    case State::miss:
      return "miss";
    case State::saved:
      return "saved";
    case State::exists:
      return "exists";
    case State::unchanged:
      return "unchanged";
    case State::empty:
      return "empty";
    case State::read_only:
      return "read_only";
    case State::failed:
      return "failed";
  }
  return "";
}

namespace {

void fail(Record& record, const Error& error) {
  record.state = State::failed;
  record.error = error;
  record.message = error.text();
}

// The first thread that notices the end of the context stops the others: what they then say was
// cancelled ended for the context's reason, a deadline as a rule.
void tell_why(const Context& context, Record& record) {
  if (!record.error || record.error->code() != Code::cancelled) return;
  if (const auto alive = context.alive(); !alive) fail(record, alive.error());
}

}  // namespace

std::vector<Record> fan_out(const Context& context, const Job& job,
                            const std::vector<Definition>& definitions, unsigned concurrency,
                            const Work& work, const std::function<void(const Record&)>& done) {
  using Clock = std::chrono::steady_clock;
  const auto blocked = blocked_by_links(definitions, job.anchors);
  std::vector<Record> records(definitions.size());
  for (size_t i = 0; i < records.size(); ++i) {
    records[i].name = definitions[i].name;
    fail(records[i], Error(Code::cancelled, "it was not begun"));
  }
  std::mutex telling;
  const auto one = [&](const Context& inner, unsigned, size_t index) -> Result<> {
    const auto began = Clock::now();
    Record record;
    if (blocked[index]) {
      record.name = definitions[index].name;
      fail(record, *blocked[index]);
    } else {
      record = work(inner, job, definitions[index]);
    }
    record.took = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - began);
    tell_why(context, record);
    const std::lock_guard lock(telling);
    if (done) done(record);
    records[index] = std::move(record);
    // What fails is in its record: an error here would end the others.
    return {};
  };
  [[maybe_unused]] const auto ended = parallel_for(context, concurrency, definitions.size(), one);
  for (Record& record : records) tell_why(context, record);
  return records;
}

}  // namespace thaw::cache

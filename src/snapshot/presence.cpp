#include "snapshot/presence.h"

#include <condition_variable>
#include <mutex>

#include "base/log.h"
#include "base/task_group.h"
#include "snapshot/last_use.h"
#include "snapshot/lease.h"

namespace thaw {

class Presence::Body {
 public:
  Body(const Context& context, ObjectStore& store, Entry entry, const PresenceOptions& options)
      : context_(context), store_(store), entry_(std::move(entry)), options_(options) {
    threads_.submit([this](const Context&) { return stay(); });
  }
  ~Body() {
    {
      const std::lock_guard lock(mutex_);
      over_ = true;
    }
    changed_.notify_one();
    const auto done = threads_.wait();
    if (!done) log::info("beside the read: {}", done.error().text());
  }

 private:
  // Whether the read is over by then.
  bool wait(std::chrono::milliseconds time) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, time, [this] { return over_; });
  }

  Result<> stay() {
    const Context noting = context_.within(options_.note_timeout);
    const auto noted = note_use(noting, store_, entry_);
    if (!noted) log::info("the use of {} was not noted: {}", entry_.key, noted.error().text());
    if (wait(options_.lease_after)) return {};
    LeaseNeeds needs;
    THAW_CHECK(needs.add(entry_));
    THAW_ASSIGN(HeldLease lease, HeldLease::take(context_, store_, std::move(needs)));
    while (!wait(kLeaseTtl / 8)) lease.renew_in_time(context_, store_);
    const Context root;  // also when the read's own time is over
    const Context farewell = root.within(options_.note_timeout);
    lease.give_back(farewell, store_);
    return {};
  }

  const Context& context_;
  ObjectStore& store_;
  const Entry entry_;
  const PresenceOptions options_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool over_ = false;
  TaskGroup threads_{context_, 1, 1};
};

Presence::Presence(const Context& context, ObjectStore& store, Entry entry,
                   const PresenceOptions& options)
    : body_(std::make_unique<Body>(context, store, std::move(entry), options)) {}

Presence::~Presence() = default;

}  // namespace thaw

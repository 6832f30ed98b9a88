// An index that keeps what it is told, and fails as the test's script says.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "object/recency_index.h"

namespace thaw::test {

// What a ScriptedIndex was told. Thread-safe; outlives its index.
class ToldNotes {
 public:
  // Runs before notes are kept; an error that it answers is the call's. May block.
  using Hook = std::function<Result<>(const Context&, size_t call)>;
  void on_apply(Hook hook) {
    const std::lock_guard lock(mutex_);
    hook_ = std::move(hook);
  }
  // "touch <the end of the block's name>", in order.
  std::vector<std::string> lines() const {
    const std::lock_guard lock(mutex_);
    std::vector<std::string> lines;
    for (const BlockNote& note : notes_) {
      const std::string& name = note.block.text();
      const char* verb = note.kind == BlockNote::Kind::touch   ? "touch "
                         : note.kind == BlockNote::Kind::admit ? "admit "
                                                               : "evict ";
      lines.push_back(verb + name.substr(name.find('/', sizeof "blocks/") + 1));
    }
    return lines;
  }
  std::vector<BlockNote> notes() const {
    const std::lock_guard lock(mutex_);
    return notes_;
  }
  size_t calls() const {
    const std::lock_guard lock(mutex_);
    return calls_;
  }

 private:
  friend class ScriptedIndex;
  Result<> apply(const Context& context, std::span<const BlockNote> notes) {
    Hook hook;
    size_t call = 0;
    {
      const std::lock_guard lock(mutex_);
      hook = hook_;
      call = ++calls_;
    }
    if (hook) THAW_CHECK(hook(context, call));
    const std::lock_guard lock(mutex_);
    notes_.insert(notes_.end(), notes.begin(), notes.end());
    return {};
  }

  mutable std::mutex mutex_;
  Hook hook_;
  size_t calls_ = 0;
  std::vector<BlockNote> notes_;
};

class ScriptedIndex final : public RecencyIndex {
 public:
  explicit ScriptedIndex(ToldNotes& told) : told_(told) {}

  Result<> apply(const Context& context, std::span<const BlockNote> notes) override {
    return told_.apply(context, notes);
  }
  Result<std::vector<std::optional<Timestamp>>> last_use(const Context&,
                                                         std::span<const ObjectKey>) override {
    return unasked();
  }
  Result<ColdPage> coldest(const Context&, Timestamp, size_t, std::string_view) override {
    return unasked();
  }
  Result<IndexUsage> usage(const Context&, const UsageOf&) override { return unasked(); }
  Result<uint64_t> evict_prefix(const Context&, std::string_view) override { return unasked(); }
  Result<Reconciled> reconcile(const Context&) override { return unasked(); }
  std::string describe() const override { return "scripted"; }

 private:
  static Error unasked() { return {Code::internal, "it takes notes alone"}; }
  ToldNotes& told_;
};

inline std::unique_ptr<RecencyIndex> scripted_index(ToldNotes& told) {
  return std::make_unique<ScriptedIndex>(told);
}

}  // namespace thaw::test

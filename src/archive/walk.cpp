#include "archive/walk.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "archive/attribute_rules.h"
#include "archive/shown_name.h"
#include "base/log.h"
#include "format/limits.h"
#include "snapshot/stage.h"

namespace thaw::archive {
namespace {

// What a hard link that waits for its target takes beside the target's name.
constexpr size_t kForwardBytes = 112;
constexpr int64_t kNoTime = std::numeric_limits<int64_t>::min();
// Of mknod(2); the kernel packs both into 32 bits.
constexpr uint32_t kMostMajor = (1U << 12) - 1;
constexpr uint32_t kMostMinor = (1U << 20) - 1;

Error refused(std::string why) { return {Code::corrupt, std::move(why)}; }

// The parts of a name below the root. Slashes in front go, as in every tar, and so do "." and
// empty parts. Refused: "..".
Result<std::vector<std::string_view>> parts_of(std::string_view name) {
  std::vector<std::string_view> parts;
  while (!name.empty()) {
    const size_t slash = std::min(name.find('/'), name.size());
    const std::string_view part = name.substr(0, slash);
    name.remove_prefix(std::min(slash + 1, name.size()));
    if (part.empty() || part == ".") continue;
    if (part == "..") return refused("it climbs out of its folder by \"..\"");
    if (parts.size() == limits::kDepth) {
      return Error(Code::exhausted, "it lies more than 1,024 folders deep");
    }
    parts.push_back(part);
  }
  return parts;
}

class Walk {
 public:
  Walk(const Context& context, TarReader& reader, NameTable& names, MetadataBudget& budget,
       TreeSink& sink, const WalkOptions& options)
      : context_(context),
        reader_(reader),
        names_(names),
        budget_(budget),
        sink_(sink),
        options_(options) {}

  Result<WalkTotals> run() {
    TarEntry entry;
    while (true) {
      THAW_ASSIGN(const bool more, reader_.next(entry));
      if (!more) break;
      auto taken = take(entry);
      if (taken) continue;
      // It may well be an earlier one, which the error names.
      if (auto earlier = sink_.failure()) return *std::move(earlier);
      return std::move(taken).within("entry " + shown(entry.name)).error();
    }
    THAW_CHECK(link_forward());
    for (const auto& [id, mtime_ns] : implied_) {
      THAW_CHECK(sink_.implied(context_, id, mtime_ns == kNoTime ? 0 : mtime_ns));
    }
    THAW_CHECK(sink_.finish(context_));
    if (totals_.attributes_dropped > 0) {
      log::warn("{} extended attributes of the archive are left out: no save would keep them",
                totals_.attributes_dropped);
    }
    return totals_;
  }

 private:
  using Parts = std::vector<std::string_view>;

  Result<> take(TarEntry& entry) {
    THAW_CHECK(budget_.take_entry());
    THAW_ASSIGN(Parts parts, parts_of(entry.name));
    const bool is_root = parts.empty();
    if (!is_root && parts.size() <= options_.strip_components) {
      ++totals_.passed_over;
      return {};
    }
    parts.erase(parts.begin(), parts.begin() + (is_root ? 0 : options_.strip_components));
    if (is_root && entry.kind != EntryKind::folder) return refused("it has no name");
    // The archive's own root says nothing of the folder that becomes the root.
    if ((is_root && options_.strip_components > 0) || is_staged(parts, entry)) {
      ++totals_.passed_over;
      return {};
    }
    totals_.attributes_dropped += entry.attributes_dropped;
    if (options_.xattrs) THAW_CHECK(check_attributes(entry.xattrs));
    // A hard link says nothing that counts.
    if (entry.kind != EntryKind::hard_link) {
      totals_.attributes_dropped += drop_impossible(entry.xattrs, entry.mode);
    }
    return place_entry(parts, entry);
  }

  // Whether it is, or lies in, a folder that a restore would take for an abandoned stage.
  static bool is_staged(const Parts& parts, const TarEntry& entry) {
    for (size_t i = 0; i < parts.size(); ++i) {
      const bool folder = i + 1 < parts.size() || entry.kind == EntryKind::folder;
      if (folder && is_stage_name(parts[i])) return true;
    }
    return false;
  }

  Result<> place_entry(const Parts& parts, const TarEntry& entry) {
    switch (entry.kind) {
      case EntryKind::folder:
        return take_folder(parts, entry);
      case EntryKind::file:
        return take_file(parts, entry);
      case EntryKind::symlink:
        if (entry.target.empty()) return refused("it is a symbolic link to nothing");
        if (entry.target.size() > limits::kLinkTargetBytes) {
          return Error(Code::exhausted, "its target has more than 4,095 bytes");
        }
        return take_special(parts, entry);
      case EntryKind::device:
        if (!options_.devices) return refused("it is a device node; --devices allows these");
        if (entry.device.major > kMostMajor || entry.device.minor > kMostMinor) {
          return refused("it is a device of numbers that no system has");
        }
        return take_special(parts, entry);
      case EntryKind::fifo:
        return take_special(parts, entry);
      case EntryKind::hard_link:
        return take_link(parts, entry);
      case EntryKind::other:
        break;
    }
    return refused("it is of a type that no tree holds");
  }

  // The folder that holds the last part; what is missing on the way is made.
  Result<uint32_t> parent_of(const Parts& parts) {
    uint32_t at = 0;
    for (size_t i = 0; i + 1 < parts.size(); ++i) {
      THAW_ASSIGN(at, folder_in(at, parts[i]));
    }
    return at;
  }

  Result<uint32_t> folder_in(uint32_t parent, std::string_view name) {
    uint32_t id = names_.find(parent, name);
    if (id != kNone) {
      if (names_.kind(id) == NameKind::folder) return id;
      return refused(fmt::format("it lies below {}, which is no folder in this archive",
                                 shown(names_.path(id))));
    }
    THAW_CHECK(budget_.take_entry());
    THAW_ASSIGN(id, add(parent, name, NameKind::folder));
    THAW_CHECK(sink_.folder(context_, id, nullptr));
    implied_[id] = kNoTime;
    ++totals_.tree.dirs;
    return id;
  }

  Result<uint32_t> add(uint32_t parent, std::string_view name, NameKind kind) {
    THAW_CHECK(budget_.take_text(name.size()));
    return names_.add(parent, name, kind);
  }

  // A folder that no entry speaks of is as old as the newest name in it: a function of the archive,
  // so that an import and a save of what was got give one id.
  void note_time(uint32_t id, int64_t mtime_ns) {
    while (id != 0) {
      id = names_.parent(id);
      const auto folder = implied_.find(id);
      if (folder == implied_.end() || folder->second >= mtime_ns) return;
      folder->second = mtime_ns;
    }
  }

  // Makes room for an entry of another kind than a folder.
  Result<uint32_t> place(const Parts& parts, NameKind kind) {
    THAW_ASSIGN(const uint32_t parent, parent_of(parts));
    uint32_t id = names_.find(parent, parts.back());
    if (id == kNone) {
      THAW_ASSIGN(id, add(parent, parts.back(), kind));
      return id;
    }
    if (names_.kind(id) == NameKind::folder)
      return refused("it is a folder earlier in the archive");
    THAW_CHECK(forget(id));
    names_.set_kind(id, kind);
    return id;
  }

  Result<> forget(uint32_t id) {
    switch (names_.kind(id)) {
      case NameKind::unlinked:
        forward_.erase(id);
        return {};
      case NameKind::file:
        --totals_.tree.files;
        break;
      default:
        --totals_.tree.others;
    }
    return sink_.forget(context_, id);
  }

  Result<> take_folder(const Parts& parts, const TarEntry& entry) {
    if (parts.empty()) {
      implied_.erase(0);
      return sink_.folder(context_, 0, &entry);
    }
    THAW_ASSIGN(const uint32_t parent, parent_of(parts));
    uint32_t id = names_.find(parent, parts.back());
    if (id == kNone) {
      THAW_ASSIGN(id, add(parent, parts.back(), NameKind::folder));
      ++totals_.tree.dirs;
    } else if (names_.kind(id) != NameKind::folder) {
      THAW_CHECK(forget(id));
      names_.set_kind(id, NameKind::folder);
      ++totals_.tree.dirs;
    }
    implied_.erase(id);
    note_time(id, entry.mtime_ns);
    return sink_.folder(context_, id, &entry);
  }

  Result<> take_file(const Parts& parts, const TarEntry& entry) {
    if (entry.size_bytes > limits::kFileBytes) {
      return Error(Code::exhausted, "it is larger than any file of a tree can be");
    }
    THAW_ASSIGN(const uint32_t id, place(parts, NameKind::file));
    ++totals_.tree.files;
    // Of a name that comes twice both count: it is what was read.
    totals_.tree.bytes += entry.size_bytes;
    note_time(id, entry.mtime_ns);
    return sink_.file(context_, id, entry, reader_);
  }

  Result<> take_special(const Parts& parts, const TarEntry& entry) {
    THAW_ASSIGN(const uint32_t id, place(parts, NameKind::other));
    ++totals_.tree.others;
    note_time(id, entry.mtime_ns);
    return sink_.special(context_, id, entry);
  }

  Result<> take_link(const Parts& parts, const TarEntry& entry) {
    THAW_ASSIGN(Parts target, parts_of(entry.target).within("its target"));
    if (target.size() <= options_.strip_components) {
      return refused("it is a hard link to something that is passed over");
    }
    target.erase(target.begin(), target.begin() + options_.strip_components);
    const uint32_t known = find(target);
    THAW_ASSIGN(const uint32_t parent, parent_of(parts));
    // A link to itself changes nothing.
    if (known != kNone && known == names_.find(parent, parts.back())) return {};
    if (known != kNone && names_.kind(known) == NameKind::folder) {
      return refused("it is a hard link to a folder");
    }
    const bool waits = known == kNone || names_.kind(known) == NameKind::unlinked;
    THAW_ASSIGN(const uint32_t id, place(parts, NameKind::unlinked));
    note_time(id, entry.mtime_ns);
    if (!waits) return link(id, known);
    // Joined anew: what it was split into lies in the entry.
    std::string path;
    for (const std::string_view part : target)
      path += (path.empty() ? "" : "/") + std::string(part);
    THAW_CHECK(budget_.take_text(path.size() + kForwardBytes));
    forward_[id] = std::move(path);
    return {};
  }

  uint32_t find(const Parts& parts) const {
    uint32_t at = 0;
    for (const std::string_view part : parts) {
      if (names_.kind(at) != NameKind::folder) return kNone;
      at = names_.find(at, part);
      if (at == kNone) return kNone;
    }
    return at;
  }

  Result<> link(uint32_t id, uint32_t target) {
    names_.set_kind(id, names_.kind(target));
    ++(names_.kind(target) == NameKind::file ? totals_.tree.files : totals_.tree.others);
    return sink_.link(context_, id, target);
  }

  // Those that came before their targets. Each step of a chain is taken once.
  Result<> link_forward() {
    std::vector<uint32_t> chain;
    while (!forward_.empty()) {
      THAW_CHECK(context_.alive());
      chain.assign(1, forward_.begin()->first);
      uint32_t target = kNone;
      while (true) {
        const uint32_t link_id = chain.back();
        const std::string path = forward_.at(link_id);
        auto parts = parts_of(path);
        target = parts ? find(*parts) : kNone;
        const std::string what = "entry " + shown(names_.path(link_id));
        if (target == kNone) {
          return refused(what + " is a hard link to " + shown(path) +
                         ", which is not in the archive");
        }
        if (names_.kind(target) == NameKind::folder) {
          return refused(what + " is a hard link to a folder");
        }
        if (names_.kind(target) != NameKind::unlinked) break;
        // A circle comes back to a link that is on this way; longer than all of them it cannot be.
        if (chain.size() > forward_.size()) {
          return refused(what + " is a hard link that leads to itself");
        }
        chain.push_back(target);
      }
      for (; !chain.empty(); chain.pop_back()) {
        if (forward_.erase(chain.back()) == 0) continue;
        THAW_CHECK(link(chain.back(), target));
      }
    }
    return {};
  }

  const Context& context_;
  TarReader& reader_;
  NameTable& names_;
  MetadataBudget& budget_;
  TreeSink& sink_;
  const WalkOptions& options_;
  std::map<uint32_t, std::string> forward_;  // hard links that wait, and where they lead
  // Folders that no entry spoke of so far, and the newest time in them.
  std::unordered_map<uint32_t, int64_t> implied_{{0, kNoTime}};
  WalkTotals totals_{.tree = {.dirs = 1}};
};

}  // namespace

Result<WalkTotals> walk(const Context& context, TarReader& reader, NameTable& names,
                        MetadataBudget& budget, TreeSink& sink, const WalkOptions& options) {
  return Walk(context, reader, names, budget, sink, options).run();
}

}  // namespace thaw::archive

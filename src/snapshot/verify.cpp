#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <set>

#include "base/task_group.h"
#include "format/pack.h"
#include "snapshot/catalog.h"
#include "snapshot/known_damage.h"
#include "snapshot/query.h"

namespace thaw {
namespace {

// What all snapshots together need of one pack.
struct PackUse {
  uint64_t size_bytes = 0;
  std::map<uint32_t, ChunkPlace> chunks;  // by offset
  // Files in bundles, by the bundle's offset: each is verified by its own digest.
  std::map<uint32_t, std::vector<std::pair<Extent, Digest>>> files;
};

class Verifier {
 public:
  Verifier(const Context& context, ObjectStore& store, unsigned threads, const KnownDamage& damage,
           Progress* progress)
      : context_(context), store_(store), threads_(threads), damage_(damage), progress_(progress) {}

  Result<VerifyReport> run(const std::optional<KeyRef>& ref) {
    THAW_ASSIGN(const StoreState state, find_store(context_, store_));
    const bool there = state != StoreState::absent;
    const std::string marker(kStoreMarkerName);
    if (state == StoreState::unmarked) fault(marker, "is missing: it marks a store of thaw");
    if (ref) {
      auto entry =
          there ? find_entry(context_, store_, *ref) : Result<std::optional<Entry>>(std::nullopt);
      if (!entry && entry.error().code() == Code::corrupt) {
        fault(ref->text(), entry.error().text());
        return std::move(report_);
      }
      if (!entry) return std::move(entry).error();
      if (!*entry) return Error(Code::not_found, "no snapshot of " + ref->text());
      THAW_CHECK(look_at(**entry));
    } else if (there) {
      THAW_CHECK(look_at_all());
    } else {
      fault(marker, "there is no store here");
    }
    THAW_CHECK(check_packs());
    return std::move(report_);
  }

 private:
  void fault(const std::string& object, const std::string& what) {
    const std::lock_guard lock(mutex_);
    report_.faults.push_back({object, what});
  }

  Result<> look_at_all() {
    THAW_ASSIGN(const std::vector<Key> keys, keys_below(context_, store_, ""));
    for (const Key& key : keys) {
      THAW_ASSIGN(const std::vector<uint64_t> numbers, generations_of(context_, store_, key));
      for (const uint64_t number : numbers) {
        auto entry = find_generation(context_, store_, key, number);
        if (!entry && entry.error().code() != Code::corrupt) return std::move(entry).error();
        if (!entry) {
          fault(entry_name(key, number), entry.error().text());
        } else if (*entry) {
          THAW_CHECK(look_at(**entry));
        }
      }
    }
    return {};
  }

  Result<> look_at(const Entry& entry) {
    ++report_.snapshots;
    const auto* at = std::get_if<ManifestRef>(&entry.manifest);
    const std::string object = at == nullptr ? fmt::format("{}@{}", entry.key, entry.generation)
                                             : manifest_object(at->id).text();
    auto manifest = load_manifest(context_, store_, entry);
    if (!manifest && manifest.error().code() != Code::corrupt) return std::move(manifest).error();
    if (!manifest) {
      fault(object, manifest.error().text());
      if (at != nullptr) damage_.remember(at->id);
      return {};
    }
    if (ids_of(manifest->tree) != entry.ids)
      fault(object, "holds another tree than its entry says");
    const Layout& layout = manifest->layout;
    for (const ChunkPlace& chunk : layout.chunks) {
      PackUse& use = packs_[layout.packs[chunk.pack].id];
      use.size_bytes = layout.packs[chunk.pack].size_bytes;
      use.chunks.emplace(chunk.offset, chunk);
    }
    for (uint32_t i = 0; i < layout.contents.size(); ++i) {
      for (const Extent& extent : layout.extents_of(i)) {
        const ChunkPlace& chunk = layout.chunks[extent.chunk];
        if (chunk.kind != ChunkKind::bundle) continue;
        packs_[layout.packs[chunk.pack].id].files[chunk.offset].emplace_back(
            extent, manifest->tree.contents[i].digest);
      }
    }
    return {};
  }

  Result<> check_packs() {
    std::vector<std::pair<RandomId, const PackUse*>> packs;
    uint64_t bytes = 0;
    for (const auto& [id, use] : packs_) {
      packs.emplace_back(id, &use);
      bytes += use.size_bytes;
    }
    report_.packs = packs.size();
    if (progress_ != nullptr) progress_->begin("verifying", bytes, packs.size());
    return parallel_for(context_, threads_, packs.size(),
                        [&](const Context& inner, unsigned, size_t i) {
                          return check_pack(inner, packs[i].first, *packs[i].second);
                        });
  }

  using Faults = std::vector<std::string>;

  Result<> check_pack(const Context& context, const RandomId& id, const PackUse& use) {
    THAW_ASSIGN(Faults faults, faults_of(context, id, use));
    // It may have been damaged on the way here.
    if (!faults.empty()) {
      THAW_ASSIGN(faults, faults_of(context, id, use));
    }
    for (const std::string& what : faults) fault(pack_object(id).text(), what);
    if (!faults.empty()) damage_.remember(id);
    if (progress_ != nullptr) {
      progress_->bytes_done += use.size_bytes;
      ++progress_->files_done;
    }
    return {};
  }

  Result<Faults> faults_of(const Context& context, const RandomId& id, const PackUse& use) {
    auto got = store_.get(context, pack_object(id), ByteRange::whole(), Freshness::origin);
    if (!got && got.error().code() == Code::not_found) return Faults{"is missing"};
    if (!got) return std::move(got).error();
    {
      const std::lock_guard lock(mutex_);
      report_.bytes += got->bytes.size();
    }
    const auto frames = parse_pack(got->bytes.view());
    if (!frames) return Faults{frames.error().text()};
    Faults faults;
    if (got->bytes.size() != use.size_bytes)
      faults.emplace_back("is not as long as its manifest says");
    check_frames(got->bytes.view(), *frames, use, faults);
    return faults;
  }

  static void check_frames(Bytes bytes, const std::vector<PackFrame>& frames, const PackUse& use,
                           Faults& faults) {
    FrameDecoder decoder;
    std::set<uint32_t> seen;
    for (const PackFrame& frame : frames) {
      const auto planned = use.chunks.find(frame.offset);
      if (planned == use.chunks.end()) continue;  // of snapshots that are gone, or not asked for
      seen.insert(frame.offset);
      const FrameRecord& record = frame.record;
      const ChunkPlace& chunk = planned->second;
      if (record.digest != chunk.digest || record.stored_bytes != chunk.stored_bytes ||
          record.content_bytes != chunk.content_bytes || record.codec != chunk.codec ||
          record.kind != chunk.kind) {
        faults.emplace_back("its footer and the manifest disagree");
        continue;
      }
      const auto content = decoder.decode(
          chunk.codec, bytes.subspan(frame.offset, chunk.stored_bytes), chunk.content_bytes);
      if (!content) {
        faults.push_back(content.error().text());
      } else if (!matches(*content, chunk, use)) {
        faults.emplace_back("a chunk does not match its digest");
      }
    }
    if (seen.size() != use.chunks.size())
      faults.emplace_back("it lacks frames that the manifest places in it");
  }

  static bool matches(Bytes content, const ChunkPlace& chunk, const PackUse& use) {
    if (chunk.kind == ChunkKind::whole) return chunk_digest(content) == chunk.digest;
    const auto files = use.files.find(chunk.offset);
    if (files == use.files.end()) return true;
    std::set<std::pair<uint32_t, uint32_t>> done;
    return std::all_of(files->second.begin(), files->second.end(), [&](const auto& file) {
      const auto& [extent, digest] = file;
      if (!done.emplace(extent.chunk_offset, extent.length).second) return true;
      return sha256(content.subspan(extent.chunk_offset, extent.length)) == digest;
    });
  }

  const Context& context_;
  ObjectStore& store_;
  const unsigned threads_;
  const KnownDamage& damage_;
  Progress* const progress_;
  std::map<RandomId, PackUse> packs_;
  std::mutex mutex_;
  VerifyReport report_;
};

}  // namespace

Result<VerifyReport> verify(const Context& context, ObjectStore& store,
                            const std::optional<KeyRef>& ref, unsigned threads,
                            const KnownDamage& damage, Progress* progress) {
  return Verifier(context, store, threads, damage, progress).run(ref);
}

}  // namespace thaw

// What a save's bases have of an image: which of their files it descends from, and that file's
// bytes.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/context.h"
#include "object/store.h"
#include "snapshot/image_window.h"
#include "snapshot/known_damage.h"
#include "snapshot/layout_builder.h"
#include "snapshot/transfer.h"

namespace thaw {

// A file of a base that a new image is compared with.
struct ImageParent {
  uint32_t base = 0;
  uint32_t content = 0;
  bool on_grid = false;  // it was laid down as an image itself
};

// The files of the bases that images may descend from: those of more than a leaf of which all data
// is in whole chunks, however they were cut. Thread-safe once built.
class ImageParents {
 public:
  // The bases outlive it. The first of them that has a path, or a name, counts.
  explicit ImageParents(const std::vector<BaseSnapshot>& bases);
  // The file of this path; else the first one, in canonical order, of the same name.
  std::optional<ImageParent> find(const std::string& path) const;

 private:
  std::map<std::string, ImageParent, std::less<>> by_path_;
  std::map<std::string, ImageParent, std::less<>> by_name_;
};

// Reads windows of the bases' contents, fetched and verified chunk by chunk; the last few chunks
// stay decoded. From a store far away, the pieces of a window and of those that are read next come
// together, in one round trip. What cannot be had makes a save larger and never fails it. One
// thread at a time.
class BaseReader {
 public:
  // All of them outlive the reader.
  BaseReader(ObjectStore& store, const std::vector<BaseSnapshot>& bases, const KnownDamage& damage,
             StoreDistance distance);
  ~BaseReader();

  // Fills `into` with what these extents, which lie within it, hold of the window; zeros elsewhere.
  // Answers the chunks that cannot be had (missing, damaged, or a store that fails): their bytes
  // are indeterminate. Fails only when the context is over. `next`: extents that will be read soon,
  // in their order.
  Result<std::vector<uint32_t>> read(const Context& context, uint32_t base,
                                     const std::vector<Extent>& extents, uint64_t window_offset,
                                     MutableBytes into, std::span<const Extent> next = {});

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace thaw

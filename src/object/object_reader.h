// ObjectReader: any range of an object that thaw did not write, in one version.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "object/store.h"

namespace thaw {

// Thread-safe. Every byte is of the version that was there at open_object(), whatever replaces it;
// a reader that can no longer get it answers Code::busy, "changed while it was read".
class ObjectReader {
 public:
  // Bytes that follow one another. An error ends the stream, which answers it.
  using Sink = std::function<Result<>(Bytes)>;

  virtual ~ObjectReader() = default;
  virtual const ObjectInfo& info() const = 0;
  // Fills `into` from `offset` on; fewer bytes only at the object's end. Code::invalid past it.
  virtual Result<size_t> read_at(const Context& context, uint64_t offset, MutableBytes into) = 0;
  // Like read_at, without a copy where a tier or the store has the bytes in one piece.
  virtual Result<Buffer> read(const Context& context, uint64_t offset, uint64_t length) = 0;
  // The bytes of a range in order, on the caller's thread, with several gets ahead of it.
  // Code::invalid when `offset` lies past the end; what lies past it of the range is cut off.
  virtual Result<> stream(const Context& context, uint64_t offset, uint64_t length,
                          const Sink& sink) = 0;
};

// Errors: not_found. `store` outlives the reader.
Result<std::unique_ptr<ObjectReader>> open_object(const Context& context, ObjectStore& store,
                                                  ObjectKey key);

// The same for somebody who is going to read `length` bytes (at least one) from `offset` on: their
// beginning is fetched at once, and says which version it is, so that a short read costs one round
// trip. What it is comes out when it is read, also that `offset` lies past the end.
Result<std::unique_ptr<ObjectReader>> open_object_at(const Context& context, ObjectStore& store,
                                                     ObjectKey key, uint64_t offset,
                                                     uint64_t length);

}  // namespace thaw

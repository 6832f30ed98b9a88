// ObjectStore: the one interface to bytes that last. Backends and decorators implement it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/context.h"
#include "base/result.h"

namespace thaw {

// The name of an object: segments joined by '/'. No segment is empty, "." or ".." or longer than
// 255 bytes, none holds a NUL; the whole has at most 1,024 bytes. So a name never leaves its store.
class ObjectKey {
 public:
  static Result<ObjectKey> parse(std::string text);
  const std::string& text() const { return text_; }
  auto operator<=>(const ObjectKey&) const = default;

 private:
  explicit ObjectKey(std::string text) : text_(std::move(text)) {}
  std::string text_;
};

// Which bytes of an object. What lies past its end is cut off; an offset past its end is
// Code::invalid (an offset equal to the end answers no bytes).
struct ByteRange {
  enum class From { start, end };
  From from = From::start;
  uint64_t offset = 0;           // from start
  uint64_t length = UINT64_MAX;  // bytes; with From::end, the last so many
  static ByteRange whole() { return {}; }
  static ByteRange of(uint64_t offset, uint64_t length) { return {From::start, offset, length}; }
  static ByteRange last(uint64_t length) { return {From::end, 0, length}; }
};

struct ObjectInfo {
  uint64_t size_bytes = 0;  // of the whole object
  std::string etag;         // changes whenever the bytes do; opaque
  Timestamp modified;       // by the server's clock
};

struct Fetched {
  Buffer bytes;
  ObjectInfo info;
};

// Which bytes an object of a name holds, where they may change: what find() told of it.
struct ObjectVersion {
  std::string etag;
  uint64_t size_bytes = 0;
  bool operator==(const ObjectVersion&) const = default;
};

// Whether a tier may answer, or only the store below all tiers.
enum class Freshness { any, origin };

// Whether who names no version goes on with the one that answers.
enum class Adopts { no, yes };

// Who may answer a get, and with which bytes.
struct Wanted {
  Freshness freshness = Freshness::any;
  // Only this version, whatever has come in its place; empty: the one that is there.
  std::optional<ObjectVersion> version{};
  Adopts adopts = Adopts::no;
  // NOLINTNEXTLINE(google-explicit-constructor): Freshness alone is the rule
  Wanted(Freshness who) : freshness(who) {}
  Wanted(Freshness who, ObjectVersion which) : freshness(who), version(std::move(which)) {}
  // A first read of an object that may change, by somebody who reads on in the version that
  // answers: the one that is there now. A tier may keep what comes, under that version.
  static Wanted first() {
    Wanted wanted(Freshness::any);
    wanted.adopts = Adopts::yes;
    return wanted;
  }
};

enum class PutMode {
  overwrite,  // replaces atomically
  create,     // succeeds for exactly one of all writers of a name
};

enum class PutOutcome {
  stored,
  exists,  // PutMode::create only: the name was taken; nothing was changed
};

struct ListOptions {
  std::string after;    // only names that sort after this one (bytewise); empty: from the start
  size_t limit = 1000;  // names a page, 1 to 1,000
};

struct Listed {
  ObjectKey key;
  ObjectInfo info;  // etag may be empty
};

struct ListPage {
  std::vector<Listed> objects;  // bytewise ascending
  bool more = false;            // there are names after the last one here
};

// Every implementation is thread-safe and blocking. A put is atomic: a reader sees the old object,
// the new one or none, never a part; when it answers `stored` the bytes are durable. An operation
// that fails with retryable() may have taken effect. Nothing waits past its context's deadline.
class ObjectStore {
 public:
  virtual ~ObjectStore() = default;

  // not_found when there is no such object, or not in the wanted version. Never fewer bytes than
  // range and size allow.
  virtual Result<Fetched> get(const Context& context, const ObjectKey& key, ByteRange range,
                              const Wanted& wanted) = 0;
  virtual Result<PutOutcome> put(const Context& context, const ObjectKey& key, Buffer bytes,
                                 PutMode mode) = 0;
  // Empty when there is no such object.
  virtual Result<std::optional<ObjectInfo>> find(const Context& context, const ObjectKey& key) = 0;
  // Names that start with `prefix` (any bytes, not only whole segments), bytewise ascending.
  virtual Result<ListPage> list(const Context& context, std::string_view prefix,
                                ListOptions options) = 0;
  // Idempotent: what is not there is no error.
  virtual Result<> remove(const Context& context, std::span<const ObjectKey> keys) = 0;
  // The stack, outermost first: "metered over retrying over disk(/var/lib/thaw)".
  virtual std::string describe() const = 0;
};

}  // namespace thaw

// Bytes: views, immutable shared buffers, little-endian fields, hexadecimal.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace thaw {

using Bytes = std::span<const uint8_t>;
using MutableBytes = std::span<uint8_t>;

inline Bytes as_bytes(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}
inline std::string_view as_text(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// A growing run of bytes whose memory is not zeroed first: the bulk of what thaw moves goes
// through these. Move-only; one thread at a time.
class ByteVector {
 public:
  ByteVector() = default;
  explicit ByteVector(size_t size_bytes) { resize(size_bytes); }
  // What was moved from is empty, and may be filled again.
  ByteVector(ByteVector&& other) noexcept
      : data_(std::move(other.data_)),
        size_(std::exchange(other.size_, 0)),
        capacity_(std::exchange(other.capacity_, 0)) {}
  ByteVector& operator=(ByteVector&& other) noexcept {
    data_ = std::move(other.data_);
    size_ = std::exchange(other.size_, 0);
    capacity_ = std::exchange(other.capacity_, 0);
    return *this;
  }

  uint8_t* data() { return data_.get(); }
  const uint8_t* data() const { return data_.get(); }
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  size_t capacity() const { return capacity_; }
  Bytes view() const { return {data_.get(), size_}; }
  MutableBytes span() { return {data_.get(), size_}; }

  void reserve(size_t capacity_bytes);
  // New bytes are indeterminate until written.
  void resize(size_t size_bytes);
  void clear() { size_ = 0; }
  void append(Bytes bytes);

 private:
  friend class Buffer;
  struct Free {
    void operator()(uint8_t* bytes) const;
  };
  std::unique_ptr<uint8_t, Free> data_;
  size_t size_ = 0;
  size_t capacity_ = 0;
};

// Immutable bytes with shared ownership; copies share, slices keep the whole alive. Thread-safe.
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(ByteVector bytes);
  explicit Buffer(std::string text);
  static Buffer copy_of(Bytes bytes);

  Bytes view() const { return view_; }
  const uint8_t* data() const { return view_.data(); }
  size_t size() const { return view_.size(); }
  bool empty() const { return view_.empty(); }
  // Precondition: offset + length <= size().
  Buffer slice(size_t offset, size_t length) const;

 private:
  std::shared_ptr<const void> owner_;
  Bytes view_;
};

// Little-endian fields, the only byte order in thaw's formats.
template <class T>
T load_le(const uint8_t* from) {
  static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "thaw runs on little-endian machines");
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}
template <class T>
void store_le(uint8_t* to, T value) {
  std::memcpy(to, &value, sizeof value);
}
template <class T>
void append_le(ByteVector& to, T value) {
  uint8_t raw[sizeof value];
  store_le(raw, value);
  to.append(raw);
}

std::string to_hex(Bytes bytes);  // lower case
std::optional<std::vector<uint8_t>> from_hex(
    std::string_view text);  // lower case only, even length

// "1.4 GiB", "512 B"
std::string human_size(uint64_t bytes);

}  // namespace thaw

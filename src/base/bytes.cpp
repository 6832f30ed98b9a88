#include "base/bytes.h"

#include <sys/mman.h>

#include <fmt/format.h>

#include <algorithm>

namespace thaw {

namespace {

// The bulk of what thaw moves lies in a few buffers of megabytes, which come and go: in pages of
// 4 KiB, each fetch of 4 MiB costs a thousand page faults.
constexpr size_t kHugePageBytes = size_t{2} << 20;

uint8_t* allocate(size_t size_bytes) {
  void* bytes = nullptr;
  if (size_bytes < kHugePageBytes) {
    bytes = std::malloc(size_bytes);
  } else if (::posix_memalign(&bytes, kHugePageBytes, size_bytes) == 0) {
    // What the kernel has none of are small pages, and the answer changes nothing.
    static_cast<void>(
        ::madvise(bytes, size_bytes / kHugePageBytes * kHugePageBytes, MADV_HUGEPAGE));
  }
  if (bytes == nullptr) throw std::bad_alloc();
  return static_cast<uint8_t*>(bytes);
}

}  // namespace

void ByteVector::Free::operator()(uint8_t* bytes) const { std::free(bytes); }

void ByteVector::reserve(size_t capacity_bytes) {
  if (capacity_bytes <= capacity_) return;
  std::unique_ptr<uint8_t, Free> larger(allocate(capacity_bytes));
  if (size_ != 0) std::memcpy(larger.get(), data_.get(), size_);
  data_ = std::move(larger);
  capacity_ = capacity_bytes;
}

void ByteVector::resize(size_t size_bytes) {
  if (size_bytes > capacity_) reserve(std::max(size_bytes, capacity_ * 2));
  size_ = size_bytes;
}

void ByteVector::append(Bytes bytes) {
  if (bytes.empty()) return;
  const size_t at = size_;
  resize(at + bytes.size());
  std::memcpy(data_.get() + at, bytes.data(), bytes.size());
}

Buffer::Buffer(ByteVector bytes) {
  view_ = {bytes.data_.get(), bytes.size_};
  owner_ = std::shared_ptr<uint8_t>(std::move(bytes.data_));
}

Buffer::Buffer(std::string text) {
  auto kept = std::make_shared<const std::string>(std::move(text));
  view_ = as_bytes(*kept);
  owner_ = std::move(kept);
}

Buffer Buffer::copy_of(Bytes bytes) {
  ByteVector copy;
  copy.append(bytes);
  return Buffer(std::move(copy));
}

Buffer Buffer::slice(size_t offset, size_t length) const {
  Buffer part;
  part.owner_ = owner_;
  part.view_ = view_.subspan(offset, length);
  return part;
}

std::string to_hex(Bytes bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  text.reserve(bytes.size() * 2);
  for (uint8_t byte : bytes) {
    text.push_back(kDigits[byte >> 4]);
    text.push_back(kDigits[byte & 15]);
  }
  return text;
}

namespace {
int digit_of(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}
}  // namespace

std::optional<std::vector<uint8_t>> from_hex(std::string_view text) {
  if (text.size() % 2 != 0) return std::nullopt;
  std::vector<uint8_t> bytes(text.size() / 2);
  for (size_t i = 0; i < bytes.size(); ++i) {
    const int high = digit_of(text[2 * i]);
    const int low = digit_of(text[2 * i + 1]);
    if (high < 0 || low < 0) return std::nullopt;
    bytes[i] = static_cast<uint8_t>(high << 4 | low);
  }
  return bytes;
}

std::string human_size(uint64_t bytes) {
  static constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  if (bytes < 1024) return fmt::format("{} B", bytes);
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1024 && unit < 6) {
    value /= 1024;
    ++unit;
  }
  return fmt::format("{:.1f} {}", value, kUnits[unit]);
}

}  // namespace thaw

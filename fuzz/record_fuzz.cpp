// Sealed records and the store marker from anywhere. The first byte of the input chooses the lane:
//   0  the rest is an object, and a store marker
//   1  the rest is an object whose checksum is put right first
//   2  two bytes of length, so much attachment, then JSON: sealed as each kind of record
#include <algorithm>
#include <string>

#include "check.h"
#include "format/record.h"
#include "format/utf8.h"
#include "taker.h"

namespace thaw {
namespace {

bool same(const ManifestRef& a, const ManifestRef& b) {
  return a.id == b.id && a.size_bytes == b.size_bytes && a.sha256 == b.sha256;
}
bool same(const Buffer& a, const Buffer& b) { return as_text(a.view()) == as_text(b.view()); }

bool same(const Entry& a, const Entry& b) {
  if (a.manifest.index() != b.manifest.index()) return false;
  const bool same_manifest =
      a.manifest.index() == 0
          ? same(std::get<ManifestRef>(a.manifest), std::get<ManifestRef>(b.manifest))
          : same(std::get<Buffer>(a.manifest), std::get<Buffer>(b.manifest));
  return same_manifest && a.key == b.key && a.generation == b.generation && a.ids == b.ids &&
         a.nonce == b.nonce && a.created_ns == b.created_ns && a.totals.files == b.totals.files &&
         a.totals.dirs == b.totals.dirs && a.totals.others == b.totals.others &&
         a.totals.bytes == b.totals.bytes && a.stored_bytes == b.stored_bytes &&
         a.labels == b.labels && a.packs == b.packs && a.host == b.host && a.tool == b.tool;
}
bool same(const Tombstone& a, const Tombstone& b) {
  return a.key == b.key && a.generation == b.generation && a.created_ns == b.created_ns;
}
bool same(const Generation& a, const Generation& b) {
  if (a.index() != b.index()) return false;
  if (a.index() == 0) return same(std::get<Entry>(a), std::get<Entry>(b));
  return same(std::get<Tombstone>(a), std::get<Tombstone>(b));
}
bool same(const Lease& a, const Lease& b) { return a == b; }
bool same(const Condemned& a, const Condemned& b) { return a == b; }
bool same(const Refusal& a, const Refusal& b) {
  return a.key == b.key && a.newest == b.newest && a.reason == b.reason && a.bytes == b.bytes &&
         a.created_ns == b.created_ns;
}

// What is read can be written, and reads the same again.
template <class Record>
void fuzz_one(const Buffer& object, Result<Record> (*decode)(const Buffer&),
              Result<Buffer> (*encode)(const Record&)) {
  const auto record = decode(object);
  if (!record) {
    FUZZ_CHECK(record.error().code() == Code::corrupt);
    return;
  }
  const auto again = encode(*record);
  FUZZ_CHECK(again.ok());
  const auto back = decode(*again);
  FUZZ_CHECK(back.ok() && same(*record, *back));
}

void fuzz_object(const Buffer& object) {
  fuzz_one(object, decode_generation, encode_generation);
  fuzz_one(object, decode_lease, encode_lease);
  fuzz_one(object, decode_refusal, encode_refusal);
  fuzz_one(object, decode_condemned, encode_condemned);
}

void fuzz_checksum(Bytes input) {
  ByteVector object;
  object.append(input);
  if (object.size() >= 32) {
    const Digest sum = sha256(object.view().first(object.size() - 32));
    std::copy(sum.bytes.begin(), sum.bytes.end(), object.data() + object.size() - 32);
  }
  fuzz_object(Buffer(std::move(object)));
}

void fuzz_json(Taker from) {
  const Bytes attachment = from.bytes(from.u16());
  const Bytes json = from.rest();
  for (const std::string_view magic : {"thawen01", "thawle01", "thawre01", "thawco01"}) {
    ByteVector object;
    object.append(as_bytes(magic));
    append_le(object, static_cast<uint32_t>(json.size()));
    append_le(object, static_cast<uint32_t>(attachment.size()));
    object.append(json);
    object.append(attachment);
    object.append(sha256(object.view()).bytes);
    fuzz_object(Buffer(std::move(object)));
  }
}

}  // namespace
}  // namespace thaw

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  thaw::Taker input({data, size});
  switch (input.byte() % 3) {
    case 0:
      thaw::fuzz_object(thaw::Buffer::copy_of(input.rest()));
      if (const auto marker = thaw::check_store_marker(input.rest()); !marker) {
        FUZZ_CHECK(thaw::is_utf8(marker.error().message()));
      }
      break;
    case 1:
      thaw::fuzz_checksum(input.rest());
      break;
    default:
      thaw::fuzz_json(input);
      break;
  }
  return 0;
}

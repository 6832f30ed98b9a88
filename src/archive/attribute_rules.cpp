#include "archive/attribute_rules.h"

#include <sys/stat.h>

#include <cstdint>
#include <optional>

#include "base/bytes.h"

namespace thaw::archive {
namespace {

constexpr size_t kValueBytes = 64 * 1024;  // XATTR_SIZE_MAX

// struct vfs_cap_data of linux/capability.h; the kernel sets revisions 2 and 3 alone.
bool is_capability(Bytes value) {
  constexpr uint32_t kEffective = 1;  // the one flag that there is
  if (value.size() < sizeof(uint32_t)) return false;
  const uint32_t revision = load_le<uint32_t>(value.data()) & ~kEffective;
  if (revision == 0x02000000) return value.size() == 20;
  if (revision != 0x03000000 || value.size() != 24) return false;
  return load_le<uint32_t>(value.data() + 20) != UINT32_MAX;  // the owner of a user namespace
}

// struct posix_acl_xattr_header and its entries; the order is the one that posix_acl_valid() of the
// kernel demands.
bool is_access_list(Bytes value) {
  enum Tag : uint16_t { user_obj = 1, user = 2, group_obj = 4, group = 8, mask = 16, other = 32 };
  constexpr size_t kHeaderBytes = 4;
  constexpr size_t kEntryBytes = 8;
  if (value.size() < kHeaderBytes || (value.size() - kHeaderBytes) % kEntryBytes != 0) return false;
  if (load_le<uint32_t>(value.data()) != 2) return false;
  uint16_t before = 0;
  bool named = false;
  uint16_t seen = 0;
  for (size_t at = kHeaderBytes; at < value.size(); at += kEntryBytes) {
    const auto tag = load_le<uint16_t>(value.data() + at);
    const auto permissions = load_le<uint16_t>(value.data() + at + 2);
    const bool repeats = tag == user || tag == group;
    const bool known =
        repeats || tag == user_obj || tag == group_obj || tag == mask || tag == other;
    if (!known || permissions > 7 || tag < before || (tag == before && !repeats)) return false;
    if (repeats && load_le<uint32_t>(value.data() + at + 4) == UINT32_MAX) return false;
    named = named || repeats;
    seen = static_cast<uint16_t>(seen | tag);
    before = tag;
  }
  constexpr uint16_t kNeeded = user_obj | group_obj | other;
  return (seen & kNeeded) == kNeeded && (!named || (seen & mask) != 0);
}

std::optional<const char*> fault_of(const Xattr& xattr) {
  if (xattr.value.size() > kValueBytes) return "has more than 64 KiB";
  const Bytes value = as_bytes(xattr.value);
  if (xattr.name == "security.capability" && !is_capability(value)) {
    return "holds no capabilities";
  }
  if (xattr.name.starts_with("system.posix_acl_") && !is_access_list(value)) {
    return "holds no access list";
  }
  return std::nullopt;
}

}  // namespace

Result<> check_attributes(const XattrSet& xattrs) {
  for (const Xattr& xattr : xattrs) {
    if (const auto fault = fault_of(xattr)) {
      return Error(Code::corrupt, "its attribute " + xattr.name + " " + *fault);
    }
  }
  return {};
}

uint32_t drop_impossible(XattrSet& xattrs, uint32_t mode) {
  const size_t dropped = std::erase_if(xattrs, [mode](const Xattr& xattr) {
    if (xattr.name.starts_with("user.")) return !S_ISREG(mode) && !S_ISDIR(mode);
    if (xattr.name == "system.posix_acl_access") return S_ISLNK(mode);
    return xattr.name == "system.posix_acl_default" && !S_ISDIR(mode);
  });
  return static_cast<uint32_t>(dropped);
}

}  // namespace thaw::archive

// Manifests from anywhere. The first byte of the input chooses the lane:
//   0  the rest is an object
//   1  the rest is a FlatBuffers body, which gets a head, packs and digest that fit
//   2  the rest is a recipe for a tree and layout, most of them valid, to be encoded
#include <sys/stat.h>

#include <algorithm>

#include "check.h"
#include "format/manifest.h"
#include "support/crafted_manifest.h"
#include "support/sample_manifest.h"
#include "taker.h"

namespace thaw {
namespace {

bool same(const Extent& a, const Extent& b) {
  return a.file_offset == b.file_offset && a.chunk == b.chunk && a.chunk_offset == b.chunk_offset &&
         a.length == b.length;
}

bool same(const ChunkPlace& a, const ChunkPlace& b) {
  return a.digest == b.digest && a.pack == b.pack && a.offset == b.offset &&
         a.stored_bytes == b.stored_bytes && a.content_bytes == b.content_bytes &&
         a.codec == b.codec && a.kind == b.kind;
}

bool same(const PackRef& a, const PackRef& b) {
  return a.id == b.id && a.size_bytes == b.size_bytes && a.live_stored_bytes == b.live_stored_bytes;
}

void check_same(const Manifest& a, const Manifest& b) {
  FUZZ_CHECK(ids_of(a.tree) == ids_of(b.tree));
  FUZZ_CHECK(a.tree.contents == b.tree.contents);
  const auto equal = [](const auto& left, const auto& right) {
    return std::equal(left.begin(), left.end(), right.begin(), right.end(),
                      [](const auto& x, const auto& y) { return same(x, y); });
  };
  FUZZ_CHECK(equal(a.layout.packs, b.layout.packs));
  FUZZ_CHECK(equal(a.layout.chunks, b.layout.chunks));
  for (uint32_t i = 0; i < a.tree.contents.size(); ++i) {
    FUZZ_CHECK(equal(a.layout.extents_of(i), b.layout.extents_of(i)));
  }
}

// What was decoded can be walked, and written and read again as the same.
void check_sound(Manifest manifest) {
  for (uint32_t i = 0; i < manifest.tree.nodes.size(); ++i) {
    const std::string path = manifest.tree.path(i);
    FUZZ_CHECK(path.empty() == (i == 0));
    FUZZ_CHECK(("/" + path + "/").find("/../") == std::string::npos);
    const uint32_t content = manifest.tree.content_of(manifest.tree.nodes[i]);
    if (content != kNone) manifest.layout.extents_of(content);
  }
  totals_of(manifest.tree);
  const auto object = encode_manifest(Context(), manifest, 1);
  FUZZ_CHECK(object.ok());
  const auto again = decode_manifest(object->view());
  FUZZ_CHECK(again.ok());
  check_same(manifest, *again);
}

void fuzz_object(Bytes object) {
  auto manifest = decode_manifest(object);
  uint64_t needed = 0;
  const auto packs = decode_manifest_head(object, &needed);
  FUZZ_CHECK(needed >= 32);
  if (!manifest) {
    FUZZ_CHECK(manifest.error().code() == Code::corrupt);
    return;
  }
  FUZZ_CHECK(packs.ok() && packs->size() == manifest->layout.packs.size());
  check_sound(*std::move(manifest));
}

// As many packs as the body's chunks name, with the bytes that they use.
std::vector<PackRef> packs_for(Bytes body) {
  flatbuffers::Verifier verifier(body.data(), body.size());
  if (!verifier.VerifyBuffer<fb::Manifest>(nullptr)) return {};
  const auto* manifest = flatbuffers::GetRoot<fb::Manifest>(body.data());
  std::vector<PackRef> packs;
  if (manifest->chunk_packs() == nullptr || manifest->chunk_stored() == nullptr) return packs;
  const uint32_t count =
      std::min(manifest->chunk_packs()->size(), manifest->chunk_stored()->size());
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t pack = manifest->chunk_packs()->Get(i);
    if (pack >= 16) continue;
    if (pack >= packs.size()) packs.resize(pack + 1);
    packs[pack].size_bytes = 64 * 1024 * 1024;
    packs[pack].live_stored_bytes += manifest->chunk_stored()->Get(i);
  }
  return packs;
}

void fuzz_body(Bytes input) {
  // A body of its own: aligned, and its end guarded.
  ByteVector body;
  body.append(input);
  const ByteVector object = test::wrap_body(body.view(), packs_for(body.view()));
  fuzz_object(object.view());
}

Tree take_tree(Taker& from) {
  static constexpr uint32_t kTypes[] = {S_IFREG, S_IFREG, S_IFDIR, S_IFDIR,  S_IFLNK,
                                        S_IFIFO, S_IFCHR, S_IFBLK, S_IFSOCK, 0};
  Tree tree = test::empty_tree();
  for (uint32_t i = from.below(4); i > 0; --i) {
    tree.contents.push_back({sha256(as_bytes(from.text(1))), from.u64() >> from.below(64)});
  }
  for (uint32_t i = from.below(3); i > 0; --i) tree.targets.push_back(from.text(1 + from.below(5)));
  for (uint32_t i = from.below(3); i > 0; --i) tree.devices.push_back({from.u32(), from.u32()});
  for (uint32_t i = from.below(3); i > 0; --i) {
    XattrSet set = {{"user." + from.text(1), from.text(from.below(10))}};
    if (from.byte() % 2 == 0) set.push_back({"user.x" + from.text(2), from.text(2)});
    tree.xattr_sets.push_back(std::move(set));
  }
  std::vector<uint32_t> path = {0};
  while (!from.empty() && tree.nodes.size() < 300) {
    const auto index = static_cast<uint32_t>(tree.nodes.size());
    for (uint32_t up = from.below(4); up > 1 && path.size() > 1; --up) path.pop_back();
    // Two digits that grow keep siblings in order; what follows them may be anything.
    const std::string name = {static_cast<char>('0' + index / 64),
                              static_cast<char>('0' + index % 64)};
    const uint32_t chosen = from.below(12);
    if (chosen >= std::size(kTypes)) {
      test::add_link(tree, path.back(), name, from.below(index));
      continue;
    }
    const uint32_t type = kTypes[chosen];
    const uint32_t payload = type == S_IFDIR || type == S_IFIFO ? kNone : from.below(3);
    test::add_node(tree, path.back(), name + from.text(from.below(3)), type | (from.u16() & 07777),
                   payload);
    Node& node = tree.nodes.back();
    node.owner = {from.below(3), from.below(3)};
    node.mtime_ns = static_cast<int64_t>(from.u64());
    if (from.byte() < 64) node.xattrs = from.below(3);
    if (type == S_IFDIR) path.push_back(index);
  }
  return tree;
}

Layout take_layout(Taker& from, const Tree& tree) {
  Layout layout;
  for (uint32_t i = from.below(3); i > 0; --i) {
    layout.packs.emplace_back();
    layout.packs.back().size_bytes = from.u32() >> from.below(32);
  }
  for (uint32_t i = from.below(5); i > 0; --i) {
    ChunkPlace chunk;
    chunk.pack = from.below(3);
    chunk.offset = from.u16();
    chunk.content_bytes = from.u32() >> from.below(32);
    chunk.codec = static_cast<Codec>(from.below(3));
    chunk.stored_bytes = chunk.codec == Codec::raw ? chunk.content_bytes : from.u16();
    chunk.kind = static_cast<ChunkKind>(from.below(3));
    layout.chunks.push_back(chunk);
  }
  for (const Content& content : tree.contents) {
    const auto first = static_cast<uint32_t>(layout.extents.size());
    uint64_t end = 0;
    for (uint32_t i = from.below(4); i > 0; --i) {
      Extent extent{end + from.u16(), from.below(5), from.u16(), from.u16()};
      if (from.byte() % 4 == 0) extent.length = static_cast<uint32_t>(content.size_bytes);
      end = extent.file_offset + extent.length;
      layout.extents.push_back(extent);
    }
    layout.contents.push_back({first, static_cast<uint32_t>(layout.extents.size()) - first});
  }
  return layout;
}

// Whatever the encoder takes, the decoder takes, and it means the same.
void fuzz_recipe(Bytes recipe) {
  Taker from(recipe);
  Taker for_layout(from.bytes(recipe.size() / 4));
  Manifest manifest;
  manifest.tree = take_tree(from);
  manifest.layout = take_layout(for_layout, manifest.tree);
  if (!check_tree(manifest.tree)) {
    FUZZ_CHECK(!encode_manifest(Context(), manifest, 1));
    manifest.tree = test::empty_tree();
    manifest.layout = {};
  } else if (!check_layout(manifest.tree, manifest.layout)) {
    FUZZ_CHECK(!encode_manifest(Context(), manifest, 1));
    // Then at least the tree, all of it holes.
    manifest.layout = {};
    manifest.layout.contents.resize(manifest.tree.contents.size());
  }
  check_sound(std::move(manifest));
}

}  // namespace
}  // namespace thaw

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  thaw::Taker input({data, size});
  switch (input.byte() % 3) {
    case 0:
      thaw::fuzz_object(input.rest());
      break;
    case 1:
      thaw::fuzz_body(input.rest());
      break;
    default:
      thaw::fuzz_recipe(input.rest());
      break;
  }
  return 0;
}

// The body of a manifest as FlatBuffers columns; for manifest.cpp alone. The two directions lie in
// manifest_write.cpp and manifest_read.cpp.
#pragma once

#include "format/manifest.h"

namespace thaw {

// Precondition: the manifest passed check_tree and check_layout.
Result<ByteVector> encode_manifest_body(const Manifest& manifest);

// Fills the tree and all of the layout but its packs. The structure is verified; the rules that
// check_tree and check_layout look at are theirs.
Result<> decode_manifest_body(Bytes body, Manifest& manifest);

}  // namespace thaw

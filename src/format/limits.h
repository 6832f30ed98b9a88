// The caps of format 1 (docs/format.md): writers refuse to make what readers refuse to read.
#pragma once

#include <cstddef>
#include <cstdint>

namespace thaw::limits {

inline constexpr uint64_t kMiB = 1024 * 1024;

inline constexpr size_t kLeafBytes = 64 * 1024;
inline constexpr size_t kSpanLeaves = 512;
inline constexpr size_t kSpanBytes = kSpanLeaves * kLeafBytes;
inline constexpr size_t kMemberBytes = 1 * kMiB;  // of a bundle
inline constexpr size_t kStoreMarkerBytes = 4096;
inline constexpr size_t kSealedRecordBytes = 1 * kMiB;
inline constexpr size_t kInlineManifestBytes = 32 * 1024;
inline constexpr size_t kPackBytes = 64 * kMiB;
inline constexpr uint32_t kPackFrames = 1U << 20;
inline constexpr size_t kChunkBytes = 8 * kMiB;
inline constexpr uint32_t kNodes = 1U << 24;
inline constexpr uint32_t kDepth = 1024;
inline constexpr size_t kNameBytes = 255;
inline constexpr size_t kLinkTargetBytes = 4095;
inline constexpr size_t kXattrBytes = 128 * 1024;
// Sets of extended attributes, and attributes in them. Each is a table of the manifest, and a
// hostile manifest may lead to one table many times over.
inline constexpr uint32_t kXattrTables = 1U << 22;
// Summed over nodes, so that hashing or writing a tree never costs far more than reading it.
inline constexpr uint64_t kTreeXattrBytes = 1024 * kMiB;
inline constexpr uint32_t kOwners = 1U << 16;
// That an entry names: 13 KiB, and 4 GiB of frames as packs are written.
inline constexpr size_t kEntryPacks = 256;
// That one condemned record names, packs and manifests together.
inline constexpr size_t kCondemnedObjects = 25'000;
inline constexpr uint64_t kFileBytes = uint64_t{1} << 62;
inline constexpr uint64_t kTreeBytes = (uint64_t{1} << 63) - 1;
// What one save reads of files that are in no bundle: it holds the digests of their spans, 32 bytes
// for each, and this makes 512 MiB of them.
inline constexpr uint64_t kSavedLargeBytes = uint64_t{1} << 49;
inline constexpr uint64_t kManifestStoredBytes = 1024 * kMiB;
// FlatBuffers' own limit is 2 GiB - 1, and that is an assertion where this is an error.
inline constexpr uint64_t kManifestBodyBytes = 2047 * kMiB;
// A body holds at most kManifestBodyFree + kManifestBodyRatio * (bytes stored): without that bound
// an object of 100 KiB may ask for 2 GiB of memory. The most regular tree that we could think of,
// empty files of one-letter names, all of one time, in directories of 253, has a ratio of 670
// (measured at 1 and 4 million files).
inline constexpr uint64_t kManifestBodyFree = 4 * kMiB;
inline constexpr uint64_t kManifestBodyRatio = 2048;
inline constexpr uint32_t kManifestPacks = 1U << 20;
inline constexpr size_t kLabels = 64;
inline constexpr size_t kLabelNameBytes = 128;
inline constexpr size_t kLabelValueBytes = 1024;
inline constexpr size_t kKeyBytes = 512;
inline constexpr size_t kKeySegmentBytes = 200;

}  // namespace thaw::limits

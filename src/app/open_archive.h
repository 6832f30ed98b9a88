// From the name of an archive to where it is read and written.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "app/config.h"
#include "app/open_bucket.h"
#include "base/environment.h"
#include "base/result.h"
#include "object/metered.h"
#include "object/multipart.h"
#include "object/store.h"

namespace thaw {

// A file, or an object of a bucket. Move-only; the stores stand on the members before them.
struct OpenedArchive {
  std::optional<std::string> path;  // absolute, of a file; else the rest is there
  BucketParts bucket;
  std::unique_ptr<StoreMeter> meter;
  std::unique_ptr<ObjectStore> store;
  std::unique_ptr<MultipartStore> parts;
  std::optional<ObjectKey> key;
};

// As a store's URL, with the object's name in the place of the prefix: "s3://bucket/a/b.tgz?…"; or
// a path, or "file:///…". Asks nobody yet. Errors: invalid.
Result<OpenedArchive> open_archive(const std::string& name, const Config& config,
                                   const Environment& environment);

// Whether open_archive() would take the name.
Result<> check_archive_name(const std::string& name);

}  // namespace thaw

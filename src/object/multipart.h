// MultipartStore: objects that are written in parts and appear whole. Beside ObjectStore, whose
// puts hold an object in memory.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/context.h"
#include "object/store.h"

namespace thaw {

// An upload that was begun. A plain value; not a secret, but useless to others.
struct UploadId {
  std::string id;
  // Kept with the object, so that a lost answer to the last request can be told from a failure.
  std::string nonce;
};

struct UploadedPart {
  uint32_t number = 0;  // from 1
  std::string etag;
};

// Thread-safe and blocking, as ObjectStore is. Until complete() nobody sees anything of an upload,
// and whatever was there before stays; parts that were put take room until complete() or abort().
class MultipartStore {
 public:
  virtual ~MultipartStore() = default;

  virtual Result<UploadId> begin(const Context& context, const ObjectKey& key) = 0;
  // The same number again replaces the part. All parts but the last have at least 5 MiB.
  virtual Result<UploadedPart> put_part(const Context& context, const ObjectKey& key,
                                        const UploadId& upload, uint32_t number, Buffer bytes) = 0;
  // The object becomes these parts, in order, in one step. Twice is no error.
  virtual Result<> complete(const Context& context, const ObjectKey& key, const UploadId& upload,
                            const std::vector<UploadedPart>& parts) = 0;
  // Forgets the upload and its parts. What is not there is no error.
  virtual Result<> abort(const Context& context, const ObjectKey& key, const UploadId& upload) = 0;
};

}  // namespace thaw

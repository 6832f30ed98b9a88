// What an S3 server answers, as values: its XML, its headers, its errors. Pure; all of it hostile
// input.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/result.h"
#include "object/s3/http.h"

namespace thaw::s3 {

// The body of an error: <Error><Code>…
struct ErrorAnswer {
  std::string code;  // "NoSuchKey"; empty when there was none
  std::string message;
  std::string region;  // where the bucket is, if the server says so
};
// Never fails: what cannot be read says nothing.
ErrorAnswer parse_error_answer(Bytes body);

// A page of ListObjectsV2 asked for with encoding-type=url.
struct ListAnswer {
  struct Object {
    std::string name;  // decoded
    uint64_t size_bytes = 0;
    std::string etag;
    Timestamp modified;
  };
  std::vector<Object> objects;
  bool truncated = false;
};
Result<ListAnswer> parse_list_answer(Bytes body);

// Names that could not be deleted by DeleteObjects, and why; in quiet mode the rest is not listed.
struct DeleteFault {
  std::string name;
  std::string code;
  std::string message;
};
Result<std::vector<DeleteFault>> parse_delete_answer(Bytes body);

// The id of an upload that was begun.
Result<std::string> parse_upload_answer(Bytes body);

// The answer to the last request of an upload, which may be 200 and still tell of a failure: a
// server that takes long answers first and says later what it came to. Empty: all is well.
Result<std::optional<ErrorAnswer>> parse_complete_answer(Bytes body);

// "bytes 0-9/100" of a Content-Range.
struct ContentRange {
  uint64_t first = 0;
  uint64_t last = 0;
  uint64_t size_bytes = 0;  // of the whole object
};
std::optional<ContentRange> parse_content_range(std::string_view text);

// The error for an answer that is no success: its Code decides what is tried again
// (docs/semantics.md, "Retries").
Error error_of_answer(const HttpResponse& response, const ErrorAnswer& answer);

// The error for an answer of 200 that no S3 server gave: a login page, say.
std::optional<Error> foreign_answer(const HttpResponse& response);

}  // namespace thaw::s3

#include <fmt/format.h>

#include <pugixml.hpp>
#include <sstream>

#include "base/random.h"
#include "object/s3/s3_answer.h"
#include "object/s3/s3_exchange.h"

namespace thaw::s3 {
namespace {

constexpr const char* kNonceHeader = "x-amz-meta-thaw-upload";

class S3Multipart final : public MultipartStore {
 public:
  S3Multipart(S3Options options, HttpClient& http, Credentialing* credentials,
              const WallClock& clock)
      : exchange_(std::move(options), http, credentials, clock) {}

  Result<UploadId> begin(const Context& context, const ObjectKey& key) override {
    return begin_upload(context, key).within("begin the upload of " + key.text());
  }

  Result<UploadedPart> put_part(const Context& context, const ObjectKey& key,
                                const UploadId& upload, uint32_t number, Buffer bytes) override {
    return send_part(context, key, upload, number, std::move(bytes))
        .within(fmt::format("put part {} of {}", number, key.text()));
  }

  Result<> complete(const Context& context, const ObjectKey& key, const UploadId& upload,
                    const std::vector<UploadedPart>& parts) override {
    return complete_upload(context, key, upload, parts).within("complete " + key.text());
  }

  Result<> abort(const Context& context, const ObjectKey& key, const UploadId& upload) override {
    return abort_upload(context, key, upload).within("abort the upload of " + key.text());
  }

 private:
  Result<UploadId> begin_upload(const Context& context, const ObjectKey& key);
  Result<UploadedPart> send_part(const Context& context, const ObjectKey& key,
                                 const UploadId& upload, uint32_t number, Buffer bytes);
  Result<> complete_upload(const Context& context, const ObjectKey& key, const UploadId& upload,
                           const std::vector<UploadedPart>& parts);
  Result<> abort_upload(const Context& context, const ObjectKey& key, const UploadId& upload);
  Result<bool> is_done(const Context& context, const ObjectKey& key, const UploadId& upload);

  bool google() const { return exchange_.options().dialect == Dialect::google; }

  Exchange exchange_;
};

// A bucket that is missing shows itself as such; any other 404 is no answer to these calls.
Error not_a_miss(Error error) {
  if (error.code() != Code::not_found) return error;
  return {Code::invalid, error.text()};
}

Result<UploadId> S3Multipart::begin_upload(const Context& context, const ObjectKey& key) {
  UploadId upload;
  upload.nonce = RandomId::fresh().hex();
  Call call;
  call.method = "POST";
  call.name = key.text();
  call.query = {{"uploads", ""}};
  call.headers.push_back({"content-type", "application/octet-stream"});
  // Google refuses a request that mixes its own headers with Amazon's.
  call.headers.push_back(
      {google() ? "x-goog-meta-thaw-upload" : std::string(kNonceHeader), upload.nonce});
  add_encryption(exchange_.options(), call.headers);
  THAW_ASSIGN(const HttpResponse response, exchange_.send(context, call));
  if (response.status != 200) return not_a_miss(error_of(response));
  if (auto foreign = foreign_answer(response)) return *std::move(foreign);
  THAW_ASSIGN(upload.id, parse_upload_answer(response.body.view()));
  return upload;
}

Result<UploadedPart> S3Multipart::send_part(const Context& context, const ObjectKey& key,
                                            const UploadId& upload, uint32_t number, Buffer bytes) {
  Call call;
  call.method = "PUT";
  call.name = key.text();
  call.query = {{"partNumber", fmt::format("{}", number)}, {"uploadId", upload.id}};
  call.body = std::move(bytes);
  THAW_ASSIGN(const HttpResponse response, exchange_.send(context, call));
  if (response.status != 200) return not_a_miss(error_of(response));
  if (auto foreign = foreign_answer(response)) return *std::move(foreign);
  const std::string_view etag = response.header("etag");
  if (etag.empty()) return Error(Code::unavailable, "the answer does not name the part");
  return UploadedPart{number, std::string(etag)};
}

Result<> S3Multipart::complete_upload(const Context& context, const ObjectKey& key,
                                      const UploadId& upload,
                                      const std::vector<UploadedPart>& parts) {
  pugi::xml_document document;
  pugi::xml_node root = document.append_child("CompleteMultipartUpload");
  for (const UploadedPart& part : parts) {
    pugi::xml_node node = root.append_child("Part");
    node.append_child("PartNumber").text() = part.number;
    node.append_child("ETag").text() = part.etag.c_str();
  }
  std::ostringstream text;
  document.save(text, "", pugi::format_raw);

  Call call;
  call.method = "POST";
  call.name = key.text();
  call.query = {{"uploadId", upload.id}};
  call.headers.push_back({"content-type", "application/xml"});
  call.body = Buffer(text.str());
  THAW_ASSIGN(const HttpResponse response, exchange_.send(context, call));
  if (response.status == 200) {
    if (auto foreign = foreign_answer(response)) return *std::move(foreign);
    THAW_ASSIGN(const auto fault, parse_complete_answer(response.body.view()));
    if (!fault) return {};
    return not_a_miss(error_of_answer(response, *fault));
  }
  const ErrorAnswer fault = parse_error_answer(response.body.view());
  if (fault.code == "NoSuchUpload") {
    // Perhaps this was done, and its answer was lost.
    THAW_ASSIGN(const bool done, is_done(context, key, upload));
    if (done) return {};
    return Error(Code::busy, "somebody has aborted the upload meanwhile");
  }
  return not_a_miss(error_of_answer(response, fault));
}

Result<bool> S3Multipart::is_done(const Context& context, const ObjectKey& key,
                                  const UploadId& upload) {
  Call call;
  call.method = "HEAD";
  call.name = key.text();
  call.may_run_twice = true;
  THAW_ASSIGN(const HttpResponse response, exchange_.send(context, call));
  if (response.status >= 500) return error_of(response);
  const std::string_view nonce =
      response.header(google() ? "x-goog-meta-thaw-upload" : kNonceHeader);
  return response.status == 200 && nonce == upload.nonce;
}

Result<> S3Multipart::abort_upload(const Context& context, const ObjectKey& key,
                                   const UploadId& upload) {
  Call call;
  call.method = "DELETE";
  call.name = key.text();
  call.query = {{"uploadId", upload.id}};
  THAW_ASSIGN(const HttpResponse response, exchange_.send(context, call));
  if (response.status == 200 || response.status == 204) return {};
  Error error = error_of(response);
  if (error.code() == Code::not_found) return {};
  return error;
}

}  // namespace

std::unique_ptr<MultipartStore> make_s3_multipart(S3Options options, HttpClient& http,
                                                  Credentialing* credentials,
                                                  const WallClock& clock) {
  return std::make_unique<S3Multipart>(std::move(options), http, credentials, clock);
}

}  // namespace thaw::s3

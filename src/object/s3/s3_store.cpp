#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <pugixml.hpp>
#include <sstream>

#include "object/contract.h"
#include "object/s3/dates.h"
#include "object/s3/s3_answer.h"
#include "object/s3/s3_exchange.h"

namespace thaw::s3 {
namespace {

// A whole object is asked for only where thaw put it as one; the format's own caps come later.
constexpr size_t kWholeBytes = size_t{1} << 30;
// Memory is reserved before the answer is seen, but no more than this.
constexpr uint64_t kReserveBytes = 32 * 1024 * 1024;
constexpr size_t kListBytes = 8 * 1024 * 1024;
constexpr size_t kDeleteBatch = 1000;

// Empty where policy forbids MD5.
std::string content_md5(Bytes bytes) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned length = 0;
  if (::EVP_Digest(bytes.data(), bytes.size(), digest.data(), &length, EVP_md5(), nullptr) != 1) {
    return "";
  }
  return base64(Bytes(digest.data(), length));
}

ObjectInfo info_of(const HttpResponse& response, uint64_t size_bytes) {
  ObjectInfo info;
  info.size_bytes = size_bytes;
  std::string_view etag = response.header("etag");
  if (etag.size() >= 2 && etag.front() == '"' && etag.back() == '"') {
    etag = etag.substr(1, etag.size() - 2);
  }
  info.etag = etag;
  info.modified = parse_http_date(response.header("last-modified")).value_or(Timestamp{});
  return info;
}

// XML 1.0 cannot say control characters, and ours is UTF-8.
bool fits_xml(std::string_view name) {
  return std::all_of(name.begin(), name.end(), [](char c) {
    return static_cast<unsigned char>(c) >= 0x20 && static_cast<unsigned char>(c) < 0x7f;
  });
}

class S3Store final : public ObjectStore {
 public:
  S3Store(S3Options options, HttpClient& http, Credentialing* credentials, const WallClock& clock)
      : exchange_(std::move(options), http, credentials, clock) {}

  Result<Fetched> get(const Context& context, const ObjectKey& key, ByteRange range,
                      const Wanted& wanted) override {
    return get_wanted(context, key, range, wanted).within("get " + key.text());
  }

  Result<PutOutcome> put(const Context& context, const ObjectKey& key, Buffer bytes,
                         PutMode mode) override {
    if (mode == PutMode::create && exchange_.options().create_only == CreateOnly::check) {
      THAW_ASSIGN(const auto there, find(context, key));
      if (there) return PutOutcome::exists;
    }
    return put_object(context, key, std::move(bytes), mode).within("put " + key.text());
  }

  Result<std::optional<ObjectInfo>> find(const Context& context, const ObjectKey& key) override {
    return head(context, key).within("find " + key.text());
  }

  Result<ListPage> list(const Context& context, std::string_view prefix,
                        ListOptions options) override {
    return list_page(context, prefix, options).within(fmt::format("list \"{}\"", prefix));
  }

  Result<> remove(const Context& context, std::span<const ObjectKey> keys) override {
    std::vector<ObjectKey> batch;
    for (const ObjectKey& key : keys) {
      if (keys.size() == 1 || !fits_xml(key.text()) ||
          exchange_.options().dialect == Dialect::google) {
        THAW_CHECK(remove_one(context, key).within("remove " + key.text()));
        continue;
      }
      batch.push_back(key);
      if (batch.size() < kDeleteBatch) continue;
      THAW_CHECK(remove_batch(context, batch).within("remove"));
      batch.clear();
    }
    if (batch.empty()) return {};
    return remove_batch(context, batch).within("remove");
  }

  std::string describe() const override { return fmt::format("s3({})", exchange_.describe()); }

 private:
  Result<Fetched> get_wanted(const Context& context, const ObjectKey& key, const ByteRange& range,
                             const Wanted& wanted);
  Result<Fetched> get_range(const Context& context, const ObjectKey& key, const ByteRange& range);
  Result<Fetched> take_part(HttpResponse response, const ByteRange& range) const;
  Result<Fetched> take_whole(HttpResponse response, const ByteRange& range) const;
  Result<Fetched> past_the_end(const Context& context, const ObjectKey& key,
                               const ByteRange& range);
  Result<std::optional<ObjectInfo>> head(const Context& context, const ObjectKey& key);
  Result<PutOutcome> put_object(const Context& context, const ObjectKey& key, Buffer bytes,
                                PutMode mode);
  Result<ListPage> list_page(const Context& context, std::string_view prefix,
                             const ListOptions& options);
  Result<ListAnswer> ask_for_names(const Context& context, const std::string& prefix,
                                   const std::string& after, size_t limit);
  Result<> remove_one(const Context& context, const ObjectKey& key);
  Result<> remove_batch(const Context& context, const std::vector<ObjectKey>& keys);

  Exchange exchange_;
};

// The version is compared here and not asked for: Ceph RGW 16 compares If-Match wrongly.
Result<Fetched> S3Store::get_wanted(const Context& context, const ObjectKey& key,
                                    const ByteRange& range, const Wanted& wanted) {
  auto fetched = get_range(context, key, range);
  if (!wanted.version) return fetched;
  if (fetched) {
    THAW_CHECK(check_version(wanted, fetched->info));
  } else if (fetched.error().code() == Code::invalid) {
    // Perhaps the range was right, and lies past the end of what came in the object's place.
    THAW_ASSIGN(const auto info, head(context, key));
    if (!info) return Error(Code::not_found, "no such object");
    THAW_CHECK(check_version(wanted, *info));
  }
  return fetched;
}

Result<Fetched> S3Store::get_range(const Context& context, const ObjectKey& key,
                                   const ByteRange& range) {
  const bool whole =
      range.from == ByteRange::From::start && range.offset == 0 && range.length == UINT64_MAX;
  // No range says "nothing": the object's size decides whether that is an error.
  if (range.length == 0) return past_the_end(context, key, range);
  Call call;
  call.name = key.text();
  call.may_run_twice = true;
  call.most_bytes = static_cast<size_t>(std::min<uint64_t>(range.length, kWholeBytes));
  if (!whole) {
    call.expected_bytes = static_cast<size_t>(std::min(range.length, kReserveBytes));
    const uint64_t room = UINT64_MAX - range.offset;
    const std::string bytes =
        range.from == ByteRange::From::end ? fmt::format("bytes=-{}", range.length)
        : range.length > room
            ? fmt::format("bytes={}-", range.offset)
            : fmt::format("bytes={}-{}", range.offset, range.offset + range.length - 1);
    call.headers.push_back({"range", bytes});
  }
  THAW_ASSIGN(HttpResponse response, exchange_.send(context, call));
  switch (response.status) {
    case 200:
      return take_whole(std::move(response), range);
    case 206:
      return take_part(std::move(response), range);
    case 416:
      return past_the_end(context, key, range);
    default:
      return error_of(response);
  }
}

Result<Fetched> S3Store::take_part(HttpResponse response, const ByteRange& range) const {
  const auto said = parse_content_range(response.header("content-range"));
  const bool fits = said && said->last - said->first + 1 == response.body.size();
  if (!fits) return Error(Code::unavailable, "the answer is cut off, or of another range");
  THAW_ASSIGN(const Piece piece, piece_of(range, said->size_bytes));
  if (said->first != piece.offset || response.body.size() != piece.length) {
    return Error(Code::unavailable, "the answer is of another range");
  }
  const ObjectInfo info = info_of(response, said->size_bytes);
  return Fetched{Buffer(std::move(response.body)), info};
}

// The answer to a request for all, or of a server that knows no ranges.
Result<Fetched> S3Store::take_whole(HttpResponse response, const ByteRange& range) const {
  if (auto foreign = foreign_answer(response)) return *std::move(foreign);
  // Without it nobody could tell an answer that ends early.
  if (response.header("content-length").empty() && response.header("transfer-encoding").empty()) {
    return Error(Code::unavailable, "the answer does not say how long it is");
  }
  THAW_ASSIGN(const Piece piece, piece_of(range, response.body.size()));
  const ObjectInfo info = info_of(response, response.body.size());
  return Fetched{Buffer(std::move(response.body)).slice(piece.offset, piece.length), info};
}

// A range that holds no byte of the object.
Result<Fetched> S3Store::past_the_end(const Context& context, const ObjectKey& key,
                                      const ByteRange& range) {
  THAW_ASSIGN(const auto info, head(context, key));
  if (!info) return Error(Code::not_found, "no such object");
  THAW_ASSIGN(const Piece piece, piece_of(range, info->size_bytes));
  if (piece.length != 0) return Error(Code::unavailable, "the server refuses a range that it has");
  return Fetched{Buffer(), *info};
}

Result<std::optional<ObjectInfo>> S3Store::head(const Context& context, const ObjectKey& key) {
  Call call;
  call.method = "HEAD";
  call.name = key.text();
  call.may_run_twice = true;
  THAW_ASSIGN(HttpResponse response, exchange_.send(context, call));
  if (response.status == 200) {
    uint64_t size_bytes = 0;
    const std::string_view text = response.header("content-length");
    const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), size_bytes);
    if (text.empty() || fault != std::errc() || end != text.data() + text.size()) {
      return Error(Code::unavailable, "the answer does not say how long the object is");
    }
    return std::optional<ObjectInfo>(info_of(response, size_bytes));
  }
  // The answer to HEAD has no body to say why: one byte of the object does.
  call.method = "GET";
  call.headers.push_back({"range", "bytes=0-0"});
  if (response.status < 500) {
    THAW_ASSIGN(response, exchange_.send(context, call));
  }
  const Error error = error_of(response);
  if (error.code() == Code::not_found) return std::optional<ObjectInfo>();
  // It came to be between the two requests.
  if (response.status < 300) return Error(Code::unavailable, "the server contradicts itself");
  return error;
}

Result<PutOutcome> S3Store::put_object(const Context& context, const ObjectKey& key, Buffer bytes,
                                       PutMode mode) {
  const S3Options& options = exchange_.options();
  Call call;
  call.method = "PUT";
  call.name = key.text();
  call.headers.push_back({"content-type", "application/octet-stream"});
  const bool google = options.dialect == Dialect::google;
  if (mode == PutMode::create && options.create_only == CreateOnly::conditional) {
    if (google) {
      call.headers.push_back({"x-goog-if-generation-match", "0"});
    } else {
      call.headers.push_back({"if-none-match", "*"});
    }
  }
  if (options.checksums) {
    call.body_sha256 = sha256(bytes.view());
    if (!google) call.headers.push_back({"x-amz-checksum-sha256", base64(call.body_sha256->bytes)});
  }
  add_encryption(options, call.headers);
  call.body = std::move(bytes);
  THAW_ASSIGN(const HttpResponse response, exchange_.send(context, call));
  if (response.status == 200 || response.status == 201) {
    if (auto foreign = foreign_answer(response)) return *std::move(foreign);
    return PutOutcome::stored;
  }
  if (response.status == 412 && mode == PutMode::create) return PutOutcome::exists;
  Error error = error_of(response);
  // A bucket that is missing shows itself as such; any other 404 is no answer to a put.
  if (error.code() == Code::not_found) return Error(Code::invalid, error.text());
  return error;
}

Result<ListPage> S3Store::list_page(const Context& context, std::string_view prefix,
                                    const ListOptions& options) {
  THAW_CHECK(check_options(options));
  const std::string& own = exchange_.options().prefix;
  const std::string base = own.empty() ? "" : own + "/";
  std::string after = options.after.empty() ? "" : base + options.after;
  ListPage page;
  // More than once only where names stand that are none of thaw's, such as a folder's marker.
  do {
    THAW_ASSIGN(ListAnswer answer,
                ask_for_names(context, base + std::string(prefix), after, options.limit));
    page.more = answer.truncated;
    if (page.more && answer.objects.empty()) {
      return Error(Code::unavailable, "the listing is truncated and says not where");
    }
    for (ListAnswer::Object& object : answer.objects) {
      if (!object.name.starts_with(base)) {
        return Error(Code::unavailable, "the listing holds names that were not asked for");
      }
      if (!after.empty() && object.name <= after) {
        return Error(Code::invalid,
                     "the server lists names out of order: thaw could not find the newest "
                     "generation there");
      }
      after = object.name;
      auto key = ObjectKey::parse(object.name.substr(base.size()));
      if (!key) continue;
      page.objects.push_back(
          {*std::move(key), {object.size_bytes, std::move(object.etag), object.modified}});
    }
  } while (page.more && page.objects.empty());
  return page;
}

Result<ListAnswer> S3Store::ask_for_names(const Context& context, const std::string& prefix,
                                          const std::string& after, size_t limit) {
  Call call;
  call.bucket = true;
  call.may_run_twice = true;
  call.most_bytes = kListBytes;
  call.query = {{"list-type", "2"},
                {"encoding-type", "url"},
                {"max-keys", fmt::format("{}", limit)},
                {"prefix", prefix}};
  if (!after.empty()) call.query.emplace_back("start-after", after);
  THAW_ASSIGN(const HttpResponse response, exchange_.send(context, call));
  if (response.status != 200) {
    Error error = error_of(response);
    if (error.code() == Code::not_found) return Error(Code::invalid, error.text());
    return error;
  }
  if (auto foreign = foreign_answer(response)) return *std::move(foreign);
  return parse_list_answer(response.body.view());
}

Result<> S3Store::remove_one(const Context& context, const ObjectKey& key) {
  Call call;
  call.method = "DELETE";
  call.name = key.text();
  THAW_ASSIGN(const HttpResponse response, exchange_.send(context, call));
  if (response.status == 200 || response.status == 204) return {};
  Error error = error_of(response);
  if (error.code() == Code::not_found) return {};
  return error;
}

Result<> S3Store::remove_batch(const Context& context, const std::vector<ObjectKey>& keys) {
  const std::string& own = exchange_.options().prefix;
  pugi::xml_document document;
  pugi::xml_node root = document.append_child("Delete");
  root.append_attribute("xmlns") = "http://s3.amazonaws.com/doc/2006-03-01/";
  for (const ObjectKey& key : keys) {
    const std::string name = own.empty() ? key.text() : own + "/" + key.text();
    root.append_child("Object").append_child("Key").text() = name.c_str();
  }
  root.append_child("Quiet").text() = "true";
  std::ostringstream text;
  document.save(text, "", pugi::format_raw);

  Call call;
  call.method = "POST";
  call.bucket = true;
  call.query = {{"delete", ""}};
  call.body = Buffer(text.str());
  call.most_bytes = kListBytes;
  const std::string md5 = content_md5(call.body.view());
  call.headers.push_back({"content-type", "application/xml"});
  if (md5.empty()) {
    call.headers.push_back({"x-amz-checksum-sha256", base64(sha256(call.body.view()).bytes)});
  } else {
    call.headers.push_back({"content-md5", md5});
  }
  THAW_ASSIGN(const HttpResponse response, exchange_.send(context, call));
  if (response.status != 200) return error_of(response);
  if (auto foreign = foreign_answer(response)) return *std::move(foreign);
  THAW_ASSIGN(const std::vector<DeleteFault> faults, parse_delete_answer(response.body.view()));
  for (const DeleteFault& fault : faults) {
    if (fault.code == "NoSuchKey") continue;
    const bool later = fault.code == "InternalError" || fault.code == "SlowDown" ||
                       fault.code == "ServiceUnavailable";
    return Error(later ? Code::unavailable : Code::denied,
                 fmt::format("{}: {} ({})", fault.name, fault.code, fault.message));
  }
  return {};
}

}  // namespace

std::unique_ptr<ObjectStore> make_s3_store(S3Options options, HttpClient& http,
                                           Credentialing* credentials, const WallClock& clock) {
  return std::make_unique<S3Store>(std::move(options), http, credentials, clock);
}

}  // namespace thaw::s3

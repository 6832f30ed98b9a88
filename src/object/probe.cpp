#include "object/probe.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/random.h"

namespace thaw {
namespace {

using std::chrono::microseconds;

// Beyond this S3 servers refuse requests.
constexpr double kRefusedSkewSeconds = 15 * 60;
constexpr double kSkewSeconds = 60;
constexpr int kReads = 9;

constexpr const char* kLookAtDirectory =
    "look at the directory, its disk and its mount: thaw needs to make files in it and read them";

const char* hint_for_list(const Error& error, ProbedPlace place) {
  if (place == ProbedPlace::directory) return "every user of the store must be able to read it";
  if (error.code() != Code::denied) return "check the store's URL: bucket, endpoint and region";
  for (const char* wrong : {"SignatureDoesNotMatch", "InvalidAccessKeyId", "InvalidToken"}) {
    if (error.message().find(wrong) != std::string::npos) {
      return "check the credentials: the access key, its secret, and the profile they come from";
    }
  }
  return "allow s3:ListBucket on the bucket: every command needs it";
}

// One examination; the findings come in the order of its steps.
class Examination {
 public:
  Examination(const Context& context, ObjectStore& store, const WallClock& clock, ProbedPlace place)
      : context_(context),
        store_(store),
        clock_(clock),
        kind_(place),
        place_("probe/" + RandomId::fresh().hex()) {}

  std::vector<Finding> run() {
    list();
    put();
    get_and_latency();
    create_only();
    overwrite();
    order();
    clock();
    remove();
    return std::move(findings_);
  }

 private:
  ObjectKey key(const char* name) const { return *ObjectKey::parse(place_ + "/" + name); }

  Result<PutOutcome> put_text(const char* name, const std::string& text, PutMode mode) {
    auto outcome = store_.put(context_, key(name), Buffer(std::string(text)), mode);
    if (outcome) written_.push_back(key(name));
    return outcome;
  }

  void found(const char* name, Verdict verdict, std::string detail, std::string hint = "") {
    findings_.push_back({name, verdict, std::move(detail), std::move(hint)});
  }
  // `hint` is for a bucket; a directory has one of its own.
  void failed(const char* name, const Error& error, const char* hint,
              const char* directory_hint = kLookAtDirectory) {
    found(name, Verdict::bad, error.text(), kind_ == ProbedPlace::bucket ? hint : directory_hint);
    findings_.back().code = error.code();
  }
  void not_tried(const char* name) {
    found(name, Verdict::unknown, "not tried: something before it failed");
  }

  void list() {
    const auto page = store_.list(context_, "keys/", {"", 1});
    if (!page) {
      const char* hint = hint_for_list(page.error(), kind_);
      return failed("list", page.error(), hint, hint);
    }
    reachable_ = true;
    found("list", Verdict::good,
          page->objects.empty() ? "the store has no snapshots yet" : "the store has snapshots");
  }

  void put() {
    if (!reachable_) return not_tried("put");
    const auto outcome = put_text("b", "one", PutMode::overwrite);
    if (!outcome) {
      return failed("put", outcome.error(),
                    "restores work without; to save, allow s3:PutObject below the store's prefix",
                    "restores work without; to save, the store's directory must be writable for "
                    "this user, and not mounted read-only");
    }
    writable_ = true;
    found("put", Verdict::good, "objects can be written");
  }

  void get_and_latency() {
    if (!writable_) {
      not_tried("get");
      return not_tried("latency");
    }
    std::vector<microseconds> times;
    for (int i = 0; i < kReads; ++i) {
      const auto began = std::chrono::steady_clock::now();
      const auto got = store_.get(context_, key("b"), ByteRange::whole(), Freshness::origin);
      times.push_back(
          std::chrono::duration_cast<microseconds>(std::chrono::steady_clock::now() - began));
      if (!got) {
        failed("get", got.error(), "allow s3:GetObject below the store's prefix");
        return not_tried("latency");
      }
      if (as_text(got->bytes.view()) != "one") {
        found("get", Verdict::bad, "what was written is not what is read",
              "this server does not give back at once what it took: thaw cannot use it");
        return not_tried("latency");
      }
    }
    readable_ = true;
    found("get", Verdict::good, "what was written is read back");
    std::sort(times.begin(), times.end());
    const auto ms = [](microseconds time) { return static_cast<double>(time.count()) / 1000.0; };
    found("latency", Verdict::good,
          fmt::format("a small read takes {:.1f} ms (median of {}; {:.1f} ms at worst)",
                      ms(times[kReads / 2]), kReads, ms(times.back())));
  }

  void create_only() {
    if (!writable_) return not_tried("create_only");
    const auto first = put_text("c", "first", PutMode::create);
    if (!first) {
      return failed("create_only", first.error(),
                    "say create=check in the store's URL: the server knows no conditional put");
    }
    const auto second =
        store_.put(context_, key("c"), Buffer(std::string("second")), PutMode::create);
    if (!second) {
      return failed("create_only", second.error(),
                    "say create=check in the store's URL: the server knows no conditional put");
    }
    if (*second == PutOutcome::exists) {
      return found("create_only", Verdict::good, "a put that must not replace does not");
    }
    found(
        "create_only", Verdict::weaker,
        "the server ignores If-None-Match: two savers of one key at the same moment may lose one "
        "of their generations",
        "say create=check in the store's URL to narrow that to a moment, or let one job save each "
        "key");
  }

  void overwrite() {
    if (!readable_) return not_tried("overwrite");
    const auto outcome = put_text("b", "two", PutMode::overwrite);
    if (!outcome) return failed("overwrite", outcome.error(), "allow s3:PutObject to replace");
    const auto got = store_.get(context_, key("b"), ByteRange::whole(), Freshness::origin);
    const bool fresh = got && as_text(got->bytes.view()) == "two";
    found("overwrite", fresh ? Verdict::good : Verdict::weaker,
          fresh ? "a replaced object is read anew" : "a replaced object is still read as it was",
          fresh ? "" : "removed generations may be seen for a while");
  }

  // Generations are found by the first name of a listing.
  void order() {
    if (!writable_) return not_tried("order");
    const auto more = put_text("a", "x", PutMode::overwrite);
    if (!more) return not_tried("order");
    const auto page = store_.list(context_, place_ + "/", {});
    if (!page)
      return failed("order", page.error(),
                    "thaw needs listings in the order of names: use another bucket");
    std::vector<std::string> names;
    for (const Listed& each : page->objects) names.push_back(each.key.text().substr(place_.size()));
    const bool complete = names == std::vector<std::string>{"/a", "/b", "/c"};
    if (complete) return found("order", Verdict::good, "listings are complete and in order");
    found("order", Verdict::bad,
          fmt::format("the listing of /a, /b and /c is: {}", fmt::join(names, ", ")),
          "thaw needs listings in the order of names that show every write at once");
  }

  void clock() {
    if (!writable_) return not_tried("clock");
    const auto info = store_.find(context_, key("b"));
    if (!info || !*info || (*info)->modified == Timestamp{}) return not_tried("clock");
    const double skew =
        static_cast<double>((*info)->modified.ns - clock_.now().ns) / 1'000'000'000.0;
    const std::string detail = std::abs(skew) < 2
                                   ? "this machine's clock agrees with the store's"
                                   : fmt::format("the store's clock is {:.0f} s {} this machine's",
                                                 std::abs(skew), skew > 0 ? "ahead of" : "behind");
    if (std::abs(skew) < kSkewSeconds) return found("clock", Verdict::good, detail);
    found("clock", std::abs(skew) < kRefusedSkewSeconds ? Verdict::weaker : Verdict::bad, detail,
          "set this machine's clock (NTP): S3 servers refuse requests of 15 minutes ago");
  }

  void remove() {
    if (written_.empty()) return not_tried("delete");
    const auto done = store_.remove(context_, written_);
    if (!done) {
      return failed("delete", done.error(),
                    "`thaw rm` and `thaw gc` need s3:DeleteObject below the store's prefix");
    }
    const auto left = store_.list(context_, place_ + "/", {});
    if (left && !left->objects.empty()) {
      return found("delete", Verdict::bad, "what was deleted is still listed",
                   "is the bucket's listing consistent?");
    }
    found("delete", Verdict::good, "objects can be deleted, and are gone");
  }

  const Context& context_;
  ObjectStore& store_;
  const WallClock& clock_;
  const ProbedPlace kind_;
  const std::string place_;
  std::vector<ObjectKey> written_;
  std::vector<Finding> findings_;
  bool reachable_ = false;
  bool writable_ = false;
  bool readable_ = false;
};

}  // namespace

std::vector<Finding> probe_store(const Context& context, ObjectStore& store, const WallClock& clock,
                                 ProbedPlace place) {
  return Examination(context, store, clock, place).run();
}

}  // namespace thaw

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>

#include "cli/command.h"
#include "cli/describe.h"
#include "object/object_reader.h"
#include "snapshot/catalog.h"
#include "snapshot/known_damage.h"
#include "snapshot/presence.h"
#include "snapshot/reader.h"

namespace thaw::cli {
namespace {

constexpr const char* kFooter = R"(Examples:
  thaw read vm/base memfile > memfile                      all of one file of a snapshot
  thaw read vm/base@3 rootfs.ext4 --offset 4096 --length 512 | xxd
  thaw read --object templates/rootfs.ext4 --length 1048576 > head
                                     any object below the store's prefix, also one that thaw did not write

The bytes go to standard output, verified before they are written. Nothing is restored: only what the
range needs is fetched, through the tiers of the configuration. An object that changes while it is
read ends the command; two versions are never mixed.)";

// What is written to standard output at once.
constexpr size_t kPieceBytes = 1024 * 1024;
constexpr uint64_t kCacheBytes = 128 * 1024 * 1024;

Result<uint64_t> parse_number(const char* option, const std::string& text) {
  uint64_t number = 0;
  const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (fault == std::errc::result_out_of_range) {
    return Error(Code::invalid, fmt::format("{} {}: more than any file has", option, text));
  }
  if (fault != std::errc() || end != text.data() + text.size()) {
    return Error(Code::invalid, fmt::format("{} \"{}\": write a number of bytes", option, text));
  }
  return number;
}

// Standard output as a sink of bytes.
class StandardOutput {
 public:
  Result<> write(Bytes bytes) {
    while (!bytes.empty()) {
      const ssize_t n = ::write(STDOUT_FILENO, bytes.data(), bytes.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && errno == EPIPE) closed_ = true;
      if (n < 0) return errno_error(errno, "write to standard output");
      bytes = bytes.subspan(static_cast<size_t>(n));
      written_ += static_cast<uint64_t>(n);
    }
    return {};
  }
  // Whoever read it has had enough.
  bool closed() const { return closed_; }
  uint64_t written() const { return written_; }

 private:
  bool closed_ = false;
  uint64_t written_ = 0;
};

class Read final : public Command {
 public:
  CLI::App& declare(CLI::App& parent) override;
  Output output() const override { return Output::bytes; }
  Reach reach() const override { return Reach::through_tiers; }
  Result<> check() override;
  std::string subject() const override { return object_.empty() ? ref_ + " " + file_ : object_; }
  Outcome run(Session& session) override;

 private:
  // The part of `size_bytes` that is asked for.
  Result<uint64_t> length_in(uint64_t size_bytes) const;
  Result<> read_file(Session& session, StandardOutput& out) const;
  Result<> read_object(Session& session, StandardOutput& out) const;

  std::string ref_;
  std::string file_;
  std::string object_;
  std::string offset_text_;
  std::string length_text_;

  std::optional<KeyRef> parsed_ref_;
  std::optional<ObjectKey> parsed_object_;
  uint64_t offset_ = 0;
  std::optional<uint64_t> length_;
};

CLI::App& Read::declare(CLI::App& parent) {
  CLI::App& app =
      *parent.add_subcommand("read", "Write a range of a snapshot's file to standard output");
  app.footer(kFooter);
  app.add_option("KEY[@N]", ref_, "The snapshot")->type_name("KEY[@N]");
  app.add_option("FILE", file_, "The file's path in it")->type_name("FILE");
  app.add_option("--object", object_, "Read this object of the store instead")->type_name("NAME");
  app.add_option("--offset", offset_text_, "Begin at this byte (default: 0)")->type_name("N");
  app.add_option("--length", length_text_, "So many bytes (default: up to the end)")
      ->type_name("N");
  return app;
}

Result<> Read::check() {
  if (object_.empty()) {
    if (ref_.empty()) return Error(Code::invalid, "name a KEY and a FILE, or --object NAME");
    if (file_.empty()) return Error(Code::invalid, "name a FILE of the snapshot");
    THAW_ASSIGN(KeyRef ref, KeyRef::parse(ref_));
    parsed_ref_ = std::move(ref);
  } else {
    if (!ref_.empty()) return Error(Code::invalid, "--object takes the place of KEY and FILE");
    THAW_ASSIGN(ObjectKey object, ObjectKey::parse(object_));
    parsed_object_ = std::move(object);
  }
  if (!offset_text_.empty()) {
    THAW_ASSIGN(offset_, parse_number("--offset", offset_text_));
  }
  if (!length_text_.empty()) {
    THAW_ASSIGN(length_, parse_number("--length", length_text_));
    if (*length_ == 0) return Error(Code::invalid, "--length 0 asks for nothing");
  }
  return {};
}

Result<uint64_t> Read::length_in(uint64_t size_bytes) const {
  if (offset_ > size_bytes) {
    return Error(Code::invalid,
                 fmt::format("--offset {} lies past the end, at {}", offset_, size_bytes));
  }
  const uint64_t left = size_bytes - offset_;
  if (length_ && *length_ > left) {
    return Error(Code::invalid, fmt::format("--length {} is more than the {} bytes from there on",
                                            *length_, left));
  }
  return length_.value_or(left);
}

Outcome Read::run(Session& session) {
  StandardOutput out;
  const auto done = parsed_object_ ? read_object(session, out) : read_file(session, out);
  Outcome outcome;
  if (!done && !out.closed()) outcome = failure_about(done.error());
  // The words were right when bytes have come out.
  if (outcome.status == Status::usage && out.written() > 0) outcome.status = Status::failed;
  return outcome;
}

Result<> Read::read_file(Session& session, StandardOutput& out) const {
  const KnownDamage damage(damage_dir(session));
  THAW_ASSIGN(const auto entry, find_entry(session.context, session.store(), *parsed_ref_));
  if (!entry) return Error(Code::not_found, "no snapshot of " + parsed_ref_->text());
  const Presence presence(session.context, session.store(), *entry);
  THAW_ASSIGN(Manifest manifest, load_manifest(session.context, session.store(), *entry));
  ChunkCache cache(kCacheBytes);
  ReaderOptions options;
  options.distance = session.distance();
  options.threads = session.config.threads;
  options.damage = &damage;
  const auto reader =
      open_reader(session.store(), std::move(manifest), cache, options, session.context);
  THAW_ASSIGN(const FileRef file, reader->find_file(file_));
  THAW_ASSIGN(uint64_t left, length_in(file.size_bytes));
  reader->will_need(file, offset_, left);
  ByteVector piece(std::min<uint64_t>(left, kPieceBytes));
  for (uint64_t at = offset_; left > 0;) {
    const size_t want = std::min<uint64_t>(left, kPieceBytes);
    THAW_ASSIGN(const size_t n,
                reader->read_at(session.context, file, at, piece.span().first(want)));
    THAW_CHECK(out.write(piece.view().first(n)));
    at += n;
    left -= n;
  }
  return {};
}

Result<> Read::read_object(Session& session, StandardOutput& out) const {
  THAW_ASSIGN(const auto reader, open_object_at(session.context, session.store(), *parsed_object_,
                                                offset_, length_.value_or(UINT64_MAX)));
  // It could be opened: that the offset lies past its end was no refusal of the store's.
  session.opened.meter->refused = 0;
  THAW_ASSIGN(const uint64_t length, length_in(reader->info().size_bytes));
  return reader->stream(session.context, offset_, length,
                        [&](Bytes bytes) { return out.write(bytes); });
}

}  // namespace

std::unique_ptr<Command> make_read() { return std::make_unique<Read>(); }

}  // namespace thaw::cli

#include "snapshot/extract.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <vector>

#include "base/fd.h"
#include "snapshot/fetch.h"
#include "snapshot/fetch_plan.h"
#include "snapshot/new_file.h"
#include "snapshot/tree_writer.h"

namespace thaw {
namespace {

// Where the file goes: links followed, and nothing there that a file may not replace.
struct Destination {
  UniqueFd folder;
  std::string name;
};

Result<Destination> locate(const std::string& path) {
  std::string place = path;
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0) {
    if (S_ISDIR(status.st_mode)) return Error(Code::invalid, path + " is a directory");
    if (!S_ISREG(status.st_mode)) return Error(Code::invalid, path + " is no regular file");
    char real[PATH_MAX];
    if (::realpath(path.c_str(), real) == nullptr) return errno_error(errno, "resolve " + path);
    place = real;
  } else if (errno != ENOENT) {
    // A folder on the way that is none is the caller's mistake, and no miss.
    if (errno == ENOTDIR) return Error(Code::invalid, path + " leads through a file");
    return errno_error(errno, "stat " + path);
  } else if (::lstat(path.c_str(), &status) == 0) {
    return Error(Code::invalid, path + " is a symbolic link to nothing");
  }
  const size_t slash = place.rfind('/');
  Destination destination;
  destination.name = slash == std::string::npos ? place : place.substr(slash + 1);
  if (destination.name.empty()) return Error(Code::invalid, "\"" + path + "\" names no file");
  const std::string folder = slash == std::string::npos ? "."
                             : slash == 0               ? "/"
                                                        : place.substr(0, slash);
  auto opened = open_path(folder, O_RDONLY | O_DIRECTORY);
  if (!opened && opened.error().code() == Code::not_found) {
    return Error(Code::invalid, "there is no directory " + folder + " to extract to");
  }
  THAW_ASSIGN(destination.folder, std::move(opened));
  return destination;
}

Result<uint64_t> apply_attributes(int fd, const Tree& tree, uint32_t number,
                                  const ExtractOptions& options, const std::string& path) {
  AttributeOptions attributes;
  attributes.owners = options.owners;
  attributes.xattrs = options.xattrs;
  // A default ACL of the folder may have given it attributes that were not saved.
  attributes.fresh = false;
  return set_attributes(fd, tree, tree.nodes[number], attributes, path);
}

// What is not found, or wrong, once the words of the caller were looked at is neither a miss nor
// the caller's mistake.
Error not_of_the_caller(Error error) {
  if (error.code() == Code::not_found) return {Code::busy, error.text()};
  if (error.code() == Code::invalid) return {Code::internal, error.text()};
  return error;
}

}  // namespace

Result<ExtractReport> extract(const Context& context, ObjectStore& store, const Manifest& manifest,
                              FileRef file, const std::string& path, const ExtractOptions& options,
                              const KnownDamage& damage, Progress* progress) {
  const Tree& tree = manifest.tree;
  if (file.node >= tree.nodes.size() || tree.content_of(tree.nodes[file.node]) != file.content) {
    return Error(Code::invalid, "a file of another snapshot");
  }
  THAW_ASSIGN(const Destination destination, locate(path));
  ExtractReport report;
  report.size_bytes = tree.contents[file.content].size_bytes;
  std::vector<uint8_t> wanted(tree.contents.size(), 0);
  wanted[file.content] = 1;
  const FetchPlan plan(manifest, wanted, joining_for(options.distance));
  report.fetched_bytes = plan.fetched_bytes();
  report.fetches = plan.ranges().size();
  for (const Extent& extent : manifest.layout.extents_of(file.content)) {
    report.written_bytes += extent.length;
  }
  if (progress != nullptr) progress->begin("extracting", report.written_bytes, 1);

  auto write = [&]() -> Result<> {
    THAW_ASSIGN(NewFile made, NewFile::make(destination.folder.get(), destination.name));
    if (::ftruncate(made.fd(), static_cast<off_t>(report.size_bytes)) != 0) {
      return errno_error(errno, "extend " + path);
    }
    THAW_CHECK(fetch_chunks(
        context, store, manifest, plan, transfer_limits(options.distance), options.threads, damage,
        [&](const Context& inner, uint32_t chunk, Bytes content) -> Result<> {
          for (const ChunkUse& use : plan.uses(chunk)) {
            THAW_CHECK(inner.alive());
            const Extent& extent = use.extent;
            THAW_CHECK(pwrite_all(made.fd(), content.subspan(extent.chunk_offset, extent.length),
                                  extent.file_offset, path));
            if (progress != nullptr) progress->bytes_done += extent.length;
          }
          return {};
        }));
    THAW_ASSIGN(report.attributes_skipped,
                apply_attributes(made.fd(), tree, file.node, options, path));
    THAW_CHECK(context.alive());
    return made.publish();
  };
  auto written = write();
  if (!written) return not_of_the_caller(std::move(written).error()).within("extract to " + path);
  if (progress != nullptr) progress->files_done = 1;
  return report;
}

}  // namespace thaw

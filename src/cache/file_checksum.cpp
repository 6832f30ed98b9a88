#include "cache/file_checksum.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <system_error>

#include "base/bytes.h"
#include "base/fd.h"
#include "base/log.h"
#include "format/digest.h"
#include "snapshot/glob.h"
#include "snapshot/stage.h"

namespace thaw::cache {
namespace {

constexpr size_t kReadBytes = size_t{1} << 20;
constexpr size_t kMostExpanded = 256;
constexpr size_t kDeepest = 1024;

bool has_wildcard(std::string_view path) {
  return path.find_first_of("*?[{") != std::string_view::npos;
}

std::string under(const std::string& directory, const std::string& path) {
  if (path.starts_with('/')) return path;
  return directory.ends_with('/') ? directory + path : directory + '/' + path;
}

Result<Digest> digest_of(const Context& context, const std::string& path) {
  // A pipe would otherwise be waited for.
  THAW_ASSIGN(const UniqueFd fd, open_path(path, O_RDONLY | O_NONBLOCK | O_NOCTTY));
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) return errno_error(errno, "look at " + path);
  if (!S_ISREG(status.st_mode)) return Error(Code::invalid, path + " is not a file");
  Sha256 hash;
  ByteVector buffer(kReadBytes);
  for (uint64_t offset = 0;;) {
    THAW_CHECK(context.alive().within("read " + path));
    THAW_ASSIGN(const size_t n, pread_up_to(fd.get(), buffer.span(), offset, path));
    hash.update(buffer.view().first(n));
    offset += n;
    if (n < buffer.size()) return hash.finish();
  }
}

// A pattern, cut where its wildcards begin.
struct Pattern {
  std::string folder;  // relative or absolute; "" is the directory itself
  std::string rest;    // below it
  size_t levels;       // how deep a match may lie below `folder`
};

Pattern cut(const std::string& pattern) {
  const size_t wildcard = std::min(pattern.find_first_of("*?[{\\"), pattern.size());
  const size_t slash = pattern.rfind('/', wildcard);
  Pattern cut{"", pattern, 0};
  if (slash != std::string::npos) {
    cut.folder = slash == 0 ? "/" : pattern.substr(0, slash);
    cut.rest = pattern.substr(slash + 1);
  }
  const bool any_depth = ("/" + cut.rest + "/").find("/**/") != std::string::npos;
  cut.levels = any_depth
                   ? kDeepest
                   : 1 + static_cast<size_t>(std::count(cut.rest.begin(), cut.rest.end(), '/'));
  return cut;
}

// Anchored by '/': without one a glob would match at any depth.
std::string glob_of(const Pattern& pattern) { return "/" + pattern.rest; }

std::string cleaned(const std::string& path) {
  std::string clean = std::filesystem::path(path).lexically_normal().string();
  while (clean.size() > 1 && clean.ends_with('/')) clean.pop_back();
  return clean;
}

// As links lead here; as it is written where that cannot be told.
std::string real_path(const std::string& path) {
  std::error_code fault;
  const auto real = std::filesystem::weakly_canonical(path, fault);
  return fault ? cleaned(path) : cleaned(real.string());
}

// Absolute paths that no pattern reaches, as they are written and as links lead.
class LeftOut {
 public:
  explicit LeftOut(const std::vector<std::string>& paths) {
    for (const std::string& path : paths) {
      paths_.insert(cleaned(path));
      paths_.insert(real_path(path));
    }
  }
  bool has(const std::string& path) const { return paths_.contains(path); }
  // Precondition: `path` is absolute and clean.
  bool has_or_holds(std::string path) const {
    for (;;) {
      if (has(path)) return true;
      const size_t slash = path.rfind('/');
      if (slash == std::string::npos || slash == 0) return false;
      path.resize(slash);
    }
  }

 private:
  std::set<std::string> paths_;
};

// Paths by what is clean of them, from the directory where they lie below it; as they are written.
class Paths {
 public:
  explicit Paths(const std::string& directory) : below_(cleaned(directory)) {
    if (!below_.ends_with('/')) below_ += '/';
  }
  void add(const std::string& path) {
    std::string clean = cleaned(path);
    if (clean.starts_with(below_)) clean.erase(0, below_.size());
    paths_.emplace(std::move(clean), path);
  }
  const std::map<std::string, std::string>& all() const { return paths_; }

 private:
  std::string below_;
  std::map<std::string, std::string> paths_;
};

// Finds the files that patterns match; counts every name that it sees.
class Walk {
 public:
  Walk(const Context& context, const std::string& directory, const LeftOut& left_out,
       uint64_t most_names, Paths& found)
      : context_(context),
        directory_(directory),
        left_out_(left_out),
        most_names_(most_names),
        found_(found) {}

  Result<> find(const std::string& text) {
    const Pattern pattern = cut(text);
    const std::string anchored = glob_of(pattern);
    THAW_CHECK(check_glob(anchored).within("checksum"));
    const Globs globs({anchored});
    const std::string folder = under(directory_, pattern.folder);
    written_ = cleaned(folder);
    real_ = real_path(folder);
    if (left_out_.has_or_holds(written_) || left_out_.has_or_holds(real_)) return {};
    for (std::string* each : {&written_, &real_})
      if (!each->ends_with('/')) *each += '/';
    return list(pattern, globs, "", 1);
  }

 private:
  struct CloseDirectory {
    void operator()(DIR* folder) const { ::closedir(folder); }
  };

  // Lists `below`, "" or "a/b/", of the pattern's folder.
  Result<> list(const Pattern& pattern, const Globs& globs, const std::string& below,
                size_t level) {
    THAW_CHECK(context_.alive());
    const std::string prefix = pattern.folder.empty() || pattern.folder.ends_with('/')
                                   ? pattern.folder
                                   : pattern.folder + "/";
    const std::string path = under(directory_, prefix + below);
    const std::unique_ptr<DIR, CloseDirectory> folder(::opendir(path.empty() ? "." : path.c_str()));
    if (folder == nullptr) {
      // What is not there, or vanishes, holds no match.
      if (errno == ENOENT || errno == ENOTDIR) return {};
      if (errno != EACCES) return errno_error(errno, "list " + path);
      log::warn("checksum: {} may not be read, and is left out", path);
      return {};
    }
    std::vector<std::string> deeper;
    for (errno = 0; const struct dirent* each = ::readdir(folder.get()); errno = 0) {
      const std::string name = each->d_name;
      if (name == "." || name == "..") continue;
      if (++seen_ > most_names_) {
        return Error(Code::exhausted, fmt::format("checksum: more than {} names to look at in {}",
                                                  most_names_, directory_));
      }
      const std::string relative = below + name;
      if (is_left_out(name, relative)) continue;
      struct stat status {};
      if (::fstatat(::dirfd(folder.get()), each->d_name, &status, AT_SYMLINK_NOFOLLOW) != 0)
        continue;
      if (S_ISDIR(status.st_mode)) {
        if (level < pattern.levels) deeper.push_back(relative + "/");
        continue;
      }
      const bool is_file = S_ISREG(status.st_mode) ||
                           (S_ISLNK(status.st_mode) &&
                            ::fstatat(::dirfd(folder.get()), each->d_name, &status, 0) == 0 &&
                            S_ISREG(status.st_mode));
      if (is_file && globs.match(relative)) found_.add(prefix + relative);
    }
    if (errno != 0) return errno_error(errno, "list " + path);
    for (const std::string& each : deeper) THAW_CHECK(list(pattern, globs, each, level + 1));
    return {};
  }

  // What caches put there, and folders of restores that are under way: a key must not depend on it.
  bool is_left_out(const std::string& name, const std::string& relative) const {
    return name.starts_with(kStagePrefix) || left_out_.has(written_ + relative) ||
           left_out_.has(real_ + relative);
  }

  const Context& context_;
  const std::string& directory_;
  const LeftOut& left_out_;
  const uint64_t most_names_;
  Paths& found_;
  std::string written_;  // the pattern's folder, with '/'
  std::string real_;     // as links lead
  uint64_t seen_ = 0;
};

// The alternatives of the first brace expression that has a comma: [begin, end) of each, and where
// the expression lies. Empty where there is none.
struct Braces {
  size_t open = 0;
  size_t close = 0;
  std::vector<std::string> choices;
};
Braces first_braces(const std::string& pattern) {
  for (size_t open = pattern.find('{'); open != std::string::npos;
       open = pattern.find('{', open + 1)) {
    Braces braces{open, 0, {}};
    size_t depth = 0;
    size_t begin = open + 1;
    for (size_t at = open; at < pattern.size(); ++at) {
      if (pattern[at] == '{') ++depth;
      if (pattern[at] == '}') --depth;
      const bool ends = depth == 0;
      if (!ends && !(depth == 1 && pattern[at] == ',')) continue;
      braces.choices.push_back(pattern.substr(begin, at - begin));
      begin = at + 1;
      if (!ends) continue;
      braces.close = at;
      break;
    }
    if (braces.close != 0 && braces.choices.size() > 1) return braces;
  }
  return {};
}

std::string quoted_list(const std::vector<std::string>& patterns) {
  std::string text;
  for (const std::string& each : patterns) text += (text.empty() ? "\"" : ", \"") + each + '"';
  return text;
}

}  // namespace

Result<std::vector<std::string>> expand_braces(const std::string& pattern) {
  std::vector<std::string> pending = {pattern};
  std::vector<std::string> done;
  while (!pending.empty()) {
    const std::string one = std::move(pending.back());
    pending.pop_back();
    const Braces braces = first_braces(one);
    if (braces.choices.empty()) {
      done.push_back(one);
    } else {
      for (const std::string& choice : braces.choices)
        pending.push_back(one.substr(0, braces.open) + choice + one.substr(braces.close + 1));
    }
    if (done.size() + pending.size() > kMostExpanded) {
      return Error(Code::exhausted, fmt::format("pattern \"{}\" stands for more than {} patterns",
                                                pattern, kMostExpanded));
    }
  }
  std::sort(done.begin(), done.end());
  return done;
}

Result<> check_pattern(const std::string& pattern) {
  if (!has_wildcard(pattern)) return {};
  THAW_ASSIGN(const auto expanded, expand_braces(pattern));
  for (const std::string& each : expanded) {
    if (each.empty()) return Error(Code::invalid, "pattern \"" + pattern + "\" can be empty");
    THAW_CHECK(check_glob(glob_of(cut(each))));
  }
  return {};
}

Result<std::string> file_checksum(const Context& context, const std::string& directory,
                                  const std::vector<std::string>& patterns,
                                  const std::vector<std::string>& left_out, uint64_t most_names) {
  if (patterns.size() == 1 && !has_wildcard(patterns.front())) {
    auto digest = digest_of(context, under(directory, patterns.front()));
    if (!digest) return std::move(digest).error().within("checksum");
    return digest->hex();
  }
  Paths paths(directory);
  const LeftOut unseen(left_out);
  Walk walk(context, directory, unseen, most_names, paths);
  for (const std::string& pattern : patterns) {
    if (!has_wildcard(pattern)) {
      paths.add(pattern);
      continue;
    }
    THAW_ASSIGN(const auto expanded, expand_braces(pattern));
    for (const std::string& each : expanded) THAW_CHECK(walk.find(each));
  }
  if (paths.all().empty()) {
    return Error(Code::not_found,
                 fmt::format("checksum: {} matches no file in {}{}", quoted_list(patterns),
                             directory, left_out.empty() ? "" : " outside of target paths"));
  }
  Sha256 whole;
  for (const auto& [clean, path] : paths.all()) {
    auto digest = digest_of(context, under(directory, path));
    if (!digest) return std::move(digest).error().within("checksum");
    whole.update(Bytes(digest->bytes));
  }
  return whole.finish().hex();
}

}  // namespace thaw::cache

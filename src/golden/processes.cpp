#include "golden/processes.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>
#include <functional>
#include <memory>

#include "base/fd.h"

namespace thaw::golden {
namespace {

struct CloseFolder {
  void operator()(DIR* folder) const { ::closedir(folder); }
};
using Folder = std::unique_ptr<DIR, CloseFolder>;

std::string small_file(const std::string& path) {
  const auto bytes = read_file(path, 64 * 1024);
  return bytes ? std::string(as_text(bytes->view())) : std::string();
}

// The access mode in the octal "flags:" of /proc/PID/fdinfo/N.
bool is_for_writing(const std::string& process, const char* fd) {
  const std::string text = small_file(process + "/fdinfo/" + fd);
  const size_t at = text.find("flags:");
  if (at == std::string::npos) return false;
  const unsigned long flags = std::strtoul(text.c_str() + at + 6, nullptr, 8);
  return (flags & O_ACCMODE) != O_RDONLY && (flags & O_PATH) == 0;
}

std::string command_of(const std::string& process) {
  std::string name = small_file(process + "/comm");
  while (!name.empty() && name.back() == '\n') name.pop_back();
  return name;
}

using Wanted =
    std::function<bool(const std::string& path, const std::string& process, const char* fd)>;

void look_at(const std::string& process, pid_t pid, const Wanted& wanted, size_t limit,
             std::vector<OpenFile>& found) {
  const std::string folder = process + "/fd";
  const Folder descriptors(::opendir(folder.c_str()));
  if (!descriptors) return;
  while (const dirent* entry = ::readdir(descriptors.get())) {
    if (found.size() >= limit) return;
    char path[4096];
    const ssize_t length =
        ::readlinkat(::dirfd(descriptors.get()), entry->d_name, path, sizeof path);
    if (length <= 0 || path[0] != '/') continue;
    std::string name(path, static_cast<size_t>(length));
    if (wanted(name, process, entry->d_name))
      found.push_back({pid, command_of(process), std::move(name)});
  }
}

std::vector<OpenFile> open_files(const Wanted& wanted, size_t limit) {
  std::vector<OpenFile> found;
  const Folder processes(::opendir("/proc"));
  if (!processes) return found;
  while (const dirent* entry = ::readdir(processes.get())) {
    char* end = nullptr;
    const long pid = std::strtol(entry->d_name, &end, 10);
    if (pid <= 0 || *end != '\0' || pid == ::getpid()) continue;
    look_at(std::string("/proc/") + entry->d_name, static_cast<pid_t>(pid), wanted, limit, found);
  }
  return found;
}

}  // namespace

std::vector<OpenFile> writers_below(const std::string& folder, size_t limit) {
  const std::string prefix = folder + "/";
  return open_files(
      [&prefix](const std::string& path, const std::string& process, const char* fd) {
        return path.starts_with(prefix) && is_for_writing(process, fd);
      },
      limit);
}

std::vector<OpenFile> holders_of(const std::string& path, size_t limit) {
  return open_files(
      [&path](const std::string& each, const std::string&, const char*) { return each == path; },
      limit);
}

std::string text_of(const std::vector<OpenFile>& processes) {
  if (processes.empty()) return "a process that cannot be seen from here";
  std::string text;
  for (const OpenFile& each : processes) {
    text += fmt::format("{}{} (pid {})", text.empty() ? "" : ", ", each.command, each.pid);
  }
  return text;
}

}  // namespace thaw::golden

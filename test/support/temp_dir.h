// A directory of a test's own.
#pragma once

#include <string>
#include <string_view>

namespace thaw::test {

// Made below $TMPDIR (or /tmp), removed with all that it holds. Not thread-safe.
class TempDir {
 public:
  TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  ~TempDir();

  const std::string& path() const { return path_; }
  // A path below it: path_of("a/b").
  std::string path_of(std::string_view name) const { return path_ + "/" + std::string(name); }

 private:
  std::string path_;
};

// Whole small files, for arranging and looking at what a test is about. They abort on failure.
void write_text(const std::string& path, std::string_view text);
std::string read_text(const std::string& path);

}  // namespace thaw::test

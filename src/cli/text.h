// Text for people: numbers, times, tables, and names that are safe on a terminal.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace thaw::cli {

std::string grouped(uint64_t number);                     // "1,234,567"
std::string counted(uint64_t number, const char* noun);   // "1 file", "2,000 files"
std::string seconds(std::chrono::milliseconds duration);  // "0.19 s", "2 min 5 s"
// "12 s", "3 min", "5 h", "12 days": how long ago; "now" for what lies in the future.
std::string age(int64_t then_ns, int64_t now_ns);

// Control characters as \xNN, so that a name neither breaks a line nor drives the terminal.
std::string printable(std::string_view text);

// How many columns text takes: code points, which is right for most scripts.
size_t width_of(std::string_view text);

enum class Align { left, right };
// Rows of cells as lines of aligned columns, two blanks apart.
std::string table(const std::vector<Align>& columns,
                  const std::vector<std::vector<std::string>>& rows);

}  // namespace thaw::cli

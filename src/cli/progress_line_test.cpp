#include "cli/progress_line.h"

#include <gtest/gtest.h>

namespace thaw::cli {
namespace {

constexpr uint64_t kMiB = 1024 * 1024;

ProgressView reading() {
  ProgressView view;
  view.step = "reading";
  view.bytes_done = 256 * kMiB;
  view.bytes_total = 1024 * kMiB;
  view.files_done = 1000;
  view.files_total = 5000;
  view.bytes_per_s = 64.0 * kMiB;
  view.step_took = std::chrono::milliseconds(4000);
  return view;
}

TEST(ProgressTextTest, SaysHowFarAndHowLong) {
  EXPECT_EQ(progress_text(reading(), 200),
            "reading      25%  256.0 MiB of 1.0 GiB  64.0 MiB/s  12 s left  1,000 of 5,000 files");
}

TEST(ProgressTextTest, NeverWiderThanTheTerminal) {
  for (size_t width = 0; width < 120; ++width) {
    EXPECT_LE(progress_text(reading(), width).size(), width);
  }
  EXPECT_EQ(progress_text(reading(), 20), "reading      25%");
}

TEST(ProgressTextTest, WhatIsUnknownIsLeftOut) {
  ProgressView view;
  view.step = "scanning";
  EXPECT_EQ(progress_text(view, 80), "scanning  ");
  view.files_done = 12'345;
  EXPECT_EQ(progress_text(view, 80), "scanning    12,345 files");
}

TEST(ProgressTextTest, NoGuessesAtFirst) {
  ProgressView view = reading();
  view.step_took = std::chrono::milliseconds(500);
  EXPECT_EQ(progress_text(view, 200).find("left"), std::string::npos);
  view = reading();
  view.bytes_done = view.bytes_total + 1;
  EXPECT_EQ(progress_text(view, 200).find("left"), std::string::npos);
  EXPECT_NE(progress_text(view, 200).find("100%"), std::string::npos);
}

TEST(ProgressLineTest, EndsAtOnce) {
  const Progress progress;
  const auto began = std::chrono::steady_clock::now();
  { const ProgressLine line(progress); }
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::milliseconds(250));
}

}  // namespace
}  // namespace thaw::cli

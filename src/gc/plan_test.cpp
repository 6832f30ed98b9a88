#include "gc/plan.h"

#include <gtest/gtest.h>

#include "snapshot/lease.h"

namespace thaw::gc {
namespace {

constexpr int64_t kHourNs = 3600LL * 1'000'000'000;
constexpr Timestamp kNow{10'000 * kHourNs};

Timestamp hours_ago(int64_t hours) { return Timestamp{kNow.ns - hours * kHourNs}; }

RandomId id(uint8_t byte) {
  RandomId made;
  made.bytes.fill(byte);
  return made;
}

ObjectFound pack(uint8_t byte, int64_t hours, uint64_t size = 100) {
  const std::string hex = id(byte).hex();
  return {*ObjectKey::parse("packs/" + hex.substr(0, 2) + "/" + hex), id(byte), size,
          hours_ago(hours)};
}

GenerationFound live(uint64_t number, int64_t hours, std::vector<PackShare> packs) {
  GenerationFound found;
  found.generation = number;
  found.put = hours_ago(hours);
  found.live = true;
  found.packs = std::move(packs);
  return found;
}

GenerationFound tombstone(uint64_t number, int64_t hours) {
  GenerationFound found;
  found.generation = number;
  found.put = hours_ago(hours);
  return found;
}

Survey survey_of(std::vector<ObjectFound> packs) {
  Survey survey;
  survey.now = kNow;
  survey.packs = std::move(packs);
  return survey;
}

// Claimed by this run if it is older than a day.
RecordFound record(uint8_t byte, int64_t hours, std::vector<RandomId> packs) {
  Condemned content;
  content.packs = std::move(packs);
  return {{id(byte), condemned_object(id(byte)), hours_ago(hours), content}, hours >= 24, {}};
}

std::vector<RandomId> ids(const std::vector<ObjectFound>& objects) {
  std::vector<RandomId> found;
  for (const ObjectFound& each : objects) found.push_back(each.id);
  return found;
}
using Ids = std::vector<RandomId>;

TEST(GcPlan, WhatNobodyNeedsIsCondemnedAndLaterDeleted) {
  Survey survey = survey_of({pack(1, 99), pack(2, 99), pack(3, 99), pack(4, 99), pack(5, 3)});
  survey.keys.push_back({*Key::parse("k"), {live(1, 99, {{id(1), 60}})}, {}, {}});
  survey.condemned = {record(0xa, 25, {id(2), id(1)}), record(0xb, 23, {id(3)})};
  const Plan made = plan(survey, {});
  EXPECT_EQ(ids(made.sweep), Ids{id(2)});
  EXPECT_EQ(ids(made.mark), Ids{id(4)});
  EXPECT_EQ(made.waiting.objects, 1U);
  EXPECT_EQ(made.young.objects, 1U);
  EXPECT_EQ(made.live.objects, 1U);
  EXPECT_EQ(made.dead_bytes, 40U);
  EXPECT_EQ(made.done_records, std::vector<ObjectKey>{condemned_object(id(0xa))});
}

TEST(GcPlan, LeasesProtectWhatTheyNameAndWhatIsYounger) {
  Survey survey = survey_of({pack(1, 99), pack(2, 5), pack(3, 7), pack(4, 99)});
  survey.condemned = {record(0xa, 25, {id(1), id(2), id(3), id(4)})};
  survey.needed_by_leases = {id(1)};
  survey.leases.push_back({*ObjectKey::parse("leases/x"), hours_ago(1), hours_ago(6), {}});
  const Plan made = plan(survey, {});
  EXPECT_EQ(ids(made.sweep), (Ids{id(3), id(4)}));
  EXPECT_EQ(made.leased.objects, 2U);
}

TEST(GcPlan, ServersMayDisagreeALittle) {
  Survey survey = survey_of({pack(1, 6), pack(2, 6)});
  survey.packs[1].put.ns -= 2 * std::chrono::nanoseconds(kSkew).count();
  survey.leases.push_back({*ObjectKey::parse("leases/x"), hours_ago(1), hours_ago(6), {}});
  const Plan made = plan(survey, {.grace = std::chrono::seconds(0)});
  EXPECT_EQ(made.leased.objects, 1U);
  EXPECT_EQ(ids(made.mark), Ids{id(2)});
}

TEST(GcPlan, ARecordThatCannotBeReadGoesAtOnce) {
  Survey survey = survey_of({});
  survey.condemned = {{{id(1), condemned_object(id(1)), hours_ago(0), std::nullopt}, true, {}}};
  EXPECT_EQ(plan(survey, {}).done_records.size(), 1U);
}

// Of a run that was killed: what it claimed is condemned anew, and its record goes when nothing of
// that is left. Of one that may be at work: nobody else touches it.
TEST(GcPlan, RecordsThatAnotherRunHasClaimed) {
  Survey survey = survey_of({pack(1, 99), pack(2, 99)});
  RecordFound busy = record(0xa, 30, {id(1)});
  busy.ours = false;
  busy.claimed = hours_ago(1);
  RecordFound dead = record(0xb, 30, {id(2)});
  dead.ours = false;
  dead.claimed = hours_ago(7);
  RecordFound done = record(0xc, 30, {id(3)});
  done.ours = false;
  done.claimed = hours_ago(7);
  survey.condemned = {busy, dead, done};
  const Plan made = plan(survey, {});
  EXPECT_TRUE(made.sweep.empty());
  EXPECT_EQ(ids(made.mark), Ids{id(2)});
  EXPECT_EQ(made.waiting.objects, 1U);
  EXPECT_EQ(made.done_records, std::vector<ObjectKey>{condemned_object(id(0xc))});
}

TEST(GcPlan, TombstonesStayWhileTheirNumberMayBeWanted) {
  const auto grace = std::chrono::hours(24);
  const int64_t long_ago = 24 + kLeaseTtl.count() / 3600 + 1;
  Survey survey = survey_of({});
  survey.keys.push_back({*Key::parse("k"),
                         {tombstone(9, 999), tombstone(8, long_ago), live(7, 999, {}),
                          tombstone(6, long_ago - 2), tombstone(5, 999)},
                         {},
                         {}});
  const Plan made = plan(survey, {.grace = grace});
  std::vector<std::string> names;
  for (const ObjectKey& each : made.tidy) names.push_back(each.text());
  const Key key = *Key::parse("k");
  EXPECT_EQ(names, (std::vector<std::string>{entry_name(key, 8), entry_name(key, 5)}));
}

TEST(GcPlan, WhatRetentionGivesUpCountsUntilTheNextRun) {
  Survey survey = survey_of({pack(1, 99), pack(2, 99)});
  survey.keys.push_back(
      {*Key::parse("k"), {live(2, 50, {{id(2), 1}}), live(1, 99, {{id(1), 1}})}, {}, {}});
  const Plan made = plan(survey, {.retention = {{.keep_last = 1}}});
  ASSERT_EQ(made.retire.size(), 1U);
  EXPECT_EQ(made.retire[0].generation, 1U);
  EXPECT_EQ(made.live.objects, 2U);
  EXPECT_TRUE(made.mark.empty());
}

TEST(GcPlan, WhatIsMissingIsNamed) {
  Survey survey = survey_of({pack(1, 99)});
  GenerationFound broken = live(2, 50, {{id(1), 1}, {id(2), 1}});
  broken.manifest = ManifestRef{id(3), 1, {}};
  survey.keys.push_back({*Key::parse("k"), {broken, live(1, 60, {{id(1), 1}})}, {}, {}});
  const Plan made = plan(survey, {});
  EXPECT_EQ(made.missing, 2U);
  EXPECT_EQ(made.broken, std::vector<std::string>{"k@2"});
}

TEST(GcPlan, UsesOfKeysThatAreGoneGo) {
  Survey survey = survey_of({});
  survey.keys.push_back({*Key::parse("gone"), {tombstone(1, 999)}, hours_ago(99), {}});
  survey.keys.push_back({*Key::parse("here"), {live(1, 999, {})}, hours_ago(99), {}});
  const Plan made = plan(survey, {});
  ASSERT_EQ(made.tidy.size(), 1U);
  EXPECT_EQ(made.tidy[0].text(), "used/gone/@");
}

}  // namespace
}  // namespace thaw::gc

#include "snapshot/soundness.h"

#include <gtest/gtest.h>

#include "object/memory.h"
#include "snapshot/catalog.h"
#include "snapshot/known_damage.h"
#include "snapshot/refusals.h"
#include "support/faulty_store.h"
#include "support/result_check.h"
#include "support/sample_manifest.h"
#include "support/temp_dir.h"

namespace thaw {
namespace {

using test::fails_with;
using test::is_ok;
using test::Verb;
using test::When;

class SoundnessTest : public ::testing::Test {
 protected:
  // So many packs, all in the store.
  std::vector<PackRef> packs(size_t count) {
    std::vector<PackRef> refs(count);
    for (PackRef& ref : refs) {
      ref = {RandomId::fresh(), 3, 3};
      EXPECT_TRUE(store_->put(context_, pack_object(ref.id), bytes("abc"), PutMode::create).ok());
    }
    return refs;
  }
  static Buffer bytes(std::string_view text) {
    ByteVector made;
    made.append(as_bytes(text));
    return Buffer(std::move(made));
  }
  void lose(const PackRef& pack) {
    const ObjectKey object = pack_object(pack.id);
    ASSERT_TRUE(is_ok(store_->remove(context_, {&object, 1})));
  }
  bool is_sound(Soundness& soundness, const std::vector<PackRef>& refs) {
    const auto fault = soundness.fault_of(context_, refs);
    return fault && !*fault;
  }

  const Context context_;
  test::Faults faults_;
  std::unique_ptr<ObjectStore> store_ = test::faulty(make_memory_store(), faults_);
};

TEST_F(SoundnessTest, AsksForEachPackOnce) {
  const auto refs = packs(20);
  Soundness soundness(*store_, {});
  EXPECT_TRUE(is_sound(soundness, refs));
  EXPECT_TRUE(is_sound(soundness, refs));
  EXPECT_EQ(faults_.calls(Verb::find), 20U);
  EXPECT_TRUE(is_sound(soundness, {}));
}

TEST_F(SoundnessTest, AMissingOrShortPackIsNamed) {
  auto refs = packs(3);
  lose(refs[1]);
  Soundness soundness(*store_, {});
  const auto fault = soundness.fault_of(context_, refs);
  ASSERT_TRUE(fault && *fault);
  EXPECT_NE((*fault)->find(refs[1].id.hex()), std::string::npos);
  EXPECT_FALSE(is_sound(soundness, {refs[1]})) << "it is known by now";

  refs = packs(3);
  refs[2].size_bytes = 4;
  EXPECT_FALSE(is_sound(soundness, refs));
}

TEST_F(SoundnessTest, OfManyPacksASampleIsAskedFor) {
  const auto refs = packs(500);
  Soundness soundness(*store_, {});
  EXPECT_TRUE(is_sound(soundness, refs));
  EXPECT_EQ(faults_.calls(Verb::find), 64U);
  // Another save looks at others.
  lose(refs[250]);
  int saves = 0;
  for (bool found = false; !found && saves < 1000; ++saves) {
    Soundness another(*store_, {});
    found = !is_sound(another, refs);
  }
  EXPECT_LT(saves, 1000);
}

TEST_F(SoundnessTest, KnownDamageCountsAsMissingAndIsNotAskedFor) {
  const auto refs = packs(500);
  Soundness soundness(*store_, {refs[7].id});
  EXPECT_FALSE(is_sound(soundness, refs));
  EXPECT_EQ(faults_.calls(Verb::find), 0U);
}

TEST_F(SoundnessTest, WhoMayNotLookTakesItForSoundAndOtherErrorsAreErrors) {
  const auto refs = packs(2);
  Soundness soundness(*store_, {});
  faults_.fail_all(Error(Code::denied, "no"));
  EXPECT_TRUE(is_sound(soundness, refs));
  faults_.heal();
  faults_.fail_all(Error(Code::unavailable, "down"));
  Soundness another(*store_, {});
  EXPECT_TRUE(fails_with(Code::unavailable, another.fault_of(context_, refs)));
}

TEST_F(SoundnessTest, AnEntrysPacksAreReadFromTheHeadOfItsManifest) {
  Manifest manifest = test::sample_manifest();
  auto encoded = encode_manifest(context_, manifest, 1);
  ASSERT_TRUE(is_ok(encoded));
  const Buffer object(*std::move(encoded));
  const ManifestRef ref{RandomId::fresh(), object.size(), sha256(object.view())};
  Entry entry;
  entry.manifest = ref;
  const auto fault = [&](std::set<RandomId> damaged = {}) {
    return Soundness(*store_, std::move(damaged)).fault_of(context_, entry).value();
  };
  EXPECT_TRUE(fault()) << "no manifest";
  ASSERT_TRUE(store_->put(context_, manifest_object(ref.id), object, PutMode::create).ok());
  EXPECT_TRUE(fault()) << "no packs";
  for (const PackRef& pack : manifest.layout.packs) {
    ASSERT_TRUE(store_
                    ->put(context_, pack_object(pack.id), Buffer(ByteVector(pack.size_bytes)),
                          PutMode::create)
                    .ok());
  }
  EXPECT_FALSE(fault());
  EXPECT_TRUE(fault({ref.id}));
  EXPECT_TRUE(fault({manifest.layout.packs[0].id}));
  entry.manifest = object;
  EXPECT_FALSE(fault());
  entry.manifest = ManifestRef{ref.id, object.size() + 1, ref.sha256};
  EXPECT_TRUE(fault()) << "cut off";
}

TEST(KnownDamageTest, RemembersAndForgets) {
  const test::TempDir folder;
  const KnownDamage damage(folder.path_of("a/damaged"));
  EXPECT_TRUE(damage.recall().empty());
  const RandomId one = RandomId::fresh();
  const RandomId two = RandomId::fresh();
  damage.remember(one);
  damage.remember(two);
  damage.remember(one);
  EXPECT_EQ(damage.recall(), (std::set<RandomId>{one, two}));
  const KnownDamage nowhere(std::nullopt);
  nowhere.remember(one);
  EXPECT_TRUE(nowhere.recall().empty());
}

TEST_F(SoundnessTest, RefusalsAreNotedCountedAndCleared) {
  const Key key = *Key::parse("k");
  EXPECT_FALSE(has_refusals(context_, *store_, key, 3));
  for (uint64_t count = 0; count < 3; ++count) {
    ASSERT_TRUE(is_ok(note_refusal(context_, *store_, {"k", 3, "shrunken", 1, 1}, count)));
    EXPECT_TRUE(has_refusals(context_, *store_, key, 3));
    EXPECT_EQ(count_refusals(context_, *store_, key, 3).value(), count + 1);
  }
  // Two who were first at once.
  ASSERT_TRUE(is_ok(note_refusal(context_, *store_, {"k", 3, "shrunken", 1, 1}, 0)));
  EXPECT_EQ(count_refusals(context_, *store_, key, 3).value(), 4U);
  EXPECT_FALSE(has_refusals(context_, *store_, key, 4));
  clear_refusals(context_, *store_, key, 3);
  EXPECT_FALSE(has_refusals(context_, *store_, key, 3));
  EXPECT_EQ(count_refusals(context_, *store_, key, 3).value(), 0U);
}

}  // namespace
}  // namespace thaw

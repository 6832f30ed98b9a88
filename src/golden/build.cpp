#include "golden/build.h"

#include <fcntl.h>

#include "base/fd.h"
#include "base/log.h"
#include "golden/child.h"
#include "golden/making.h"
#include "golden/recover.h"

namespace thaw::golden {
namespace {

// Whether it is promoted.
Result<bool> build_in(const Context& context, const Root& root, const Place& place,
                      const WorkFolder& folder, const BuildRequest& request, const WallClock& clock,
                      Progress* progress, BuildReport& report) {
  if (progress != nullptr) progress->begin("building", 0, 0);
  THAW_CHECK(folder.make_tree());
  THAW_ASSIGN(report.exit_code,
              run_child(context, request.command, place.path_of(folder.entry()) + "/tree",
                        builds_variable(place)));
  if (report.exit_code != 0) return false;
  // It may have made the folder anew, and it may have put a link there.
  auto tree = open_at(folder.fd(), "tree", O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (!tree) {
    return Error(Code::corrupt,
                 request.command.front() + " left no folder in its place: " + tree.error().text());
  }
  THAW_ASSIGN(report.promoted,
              promote_made(context, root, request.promote, folder, clock, progress));
  return !report.promoted.refusal.has_value();
}

}  // namespace

Result<BuildReport> build(const Context& context, const Root& root, const BuildRequest& request,
                          const WallClock& clock, Progress* progress) {
  const Place place(root, request.promote.name);
  THAW_CHECK(place.make());
  THAW_CHECK(recover(context, place));
  THAW_ASSIGN(const Pointer before, place.pointer());
  BuildReport report;
  report.generation = before.current;
  if (request.if_missing && before.current != 0) return report;
  if (progress != nullptr) progress->begin("waiting", 0, 0);
  THAW_ASSIGN(const Lock lock, lock_making(context, place, request.wait));
  THAW_ASSIGN(const Pointer now, place.pointer());
  if (now.last != before.last && now.current != 0) {
    report.generation = now.current;
    return report;
  }
  THAW_CHECK(check_room(root.path, request.promote.min_free));
  THAW_ASSIGN(const WorkFolder folder, WorkFolder::make(place));
  auto done = build_in(context, root, place, folder, request, clock, progress, report);
  if (done && *done) {
    report.built = true;
    report.generation = report.promoted.description.generation;
    return report;
  }
  const auto removed = folder.remove(Context(), place);
  if (!removed) log::info("the next command removes it: {}", removed.error().text());
  if (!done) return std::move(done).error();
  return report;
}

}  // namespace thaw::golden

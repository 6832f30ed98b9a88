#include "snapshot/in_place_apply.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "base/log.h"

namespace thaw {
namespace {

// rename(2) onto a name that is of another type than when it was listed.
bool became_something_else(int error) {
  return error == ENOENT || error == ENOTDIR || error == EISDIR || error == ENOTEMPTY ||
         error == EEXIST;
}

// A folder that moves to another parent is itself written (its ".." changes): its owner may have to
// allow that.
bool allow_to_move(int folder, const std::string& name) {
  const auto fd = open_at(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  struct stat status {};
  if (fd) {
    return ::fstat(fd->get(), &status) == 0 && (status.st_mode & 0700) != 0700 &&
           ::fchmod(fd->get(), (status.st_mode & 07777) | 0700) == 0;
  }
  return ::fstatat(folder, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 &&
         S_ISDIR(status.st_mode) && ::fchmodat(folder, name.c_str(), 0700, 0) == 0;
}

}  // namespace

bool says_changed(const Error& error) {
  return error.code() == Code::not_found || error.code() == Code::invalid;
}

Placing::Placing(const Tree& tree, const Scan& scan, const InPlacePlan& plan, Stage& stage,
                 const std::string& target, std::vector<TreeWriter::Written> staged)
    : tree_(tree),
      scan_(scan),
      plan_(plan),
      stage_(stage),
      target_(target),
      staged_(std::move(staged)),
      missing_(tree.nodes.size(), 0) {
  std::sort(staged_.begin(), staged_.end(),
            [](const auto& a, const auto& b) { return a.node < b.node; });
  for (const auto& each : plan.in_the_way) in_the_way_[each.node] = each.scanned;
}

Error Placing::failed(const char* what, uint32_t node) const {
  return errno_error(errno, std::string(what) + " " + target_ + "/" + tree_.path(node));
}

bool Placing::comes_with_its_folder(uint32_t node) const {
  return plan_.actions[tree_.nodes[node].parent] == Action::folder;
}

Result<uint64_t> Placing::assemble(const Context& context) {
  uint64_t made = 0;
  for (uint32_t i = 1; i < tree_.nodes.size(); ++i) {
    const Node& node = tree_.nodes[i];
    const std::string name = std::to_string(i);
    if (plan_.actions[i] == Action::folder) {
      THAW_CHECK(context.alive());
      if (::mkdirat(stage_.fd(), name.c_str(), 0700) != 0) return failed("create", i);
      ++made;
    } else if (plan_.actions[i] == Action::link && plan_.actions[node.link_to] == Action::write) {
      THAW_CHECK(context.alive());
      const std::string first = std::to_string(node.link_to);
      if (::linkat(stage_.fd(), first.c_str(), stage_.fd(), name.c_str(), 0) == 0) {
        ++made;
      } else if (errno == ENOENT && node.is_device()) {
        missing_[i] = 1;  // the device itself could not be made
      } else {
        return failed("link", i);
      }
    }
  }
  return made;
}

Result<uint64_t> Placing::link_to_target() {
  uint64_t made = 0;
  for (uint32_t i = 1; i < tree_.nodes.size(); ++i) {
    const uint32_t first = tree_.nodes[i].link_to;
    if (plan_.actions[i] != Action::link || plan_.actions[first] == Action::write) continue;
    auto from = open_parent_beneath(scan_.root.get(), tree_.path(first));
    const bool linked = from && ::linkat(from->folder.get(), from->name.c_str(), stage_.fd(),
                                         std::to_string(i).c_str(), 0) == 0;
    if (linked) {
      ++made;
      continue;
    }
    if (from && errno != ENOENT) return failed("link", i);
    if (!from && !says_changed(from.error())) return std::move(from).error();
    missing_[i] = 1;
    changed_.push_back(tree_.path(first));
  }
  return made;
}

Result<uint64_t> Placing::put(const Context& context) {
  THAW_ASSIGN(const uint64_t linked, link_to_target());
  const auto count = static_cast<uint32_t>(tree_.nodes.size());
  const auto is_new = [&](uint32_t i) {
    const Action action = plan_.actions[i];
    return action != Action::none && action != Action::fix && missing_[i] == 0;
  };
  // Still in the stage, and from below: a new folder comes into place with all that is in it.
  for (uint32_t i = count; i-- > 1;) {
    if (!is_new(i) || !comes_with_its_folder(i)) continue;
    THAW_CHECK(context.alive());
    THAW_ASSIGN(const UniqueFd folder, open_at(stage_.fd(), std::to_string(tree_.nodes[i].parent),
                                               O_PATH | O_DIRECTORY | O_NOFOLLOW));
    THAW_CHECK(move(i, folder.get(), std::string(tree_.name(i))));
  }
  for (uint32_t i = 1; i < count; ++i) {
    if (!is_new(i) || comes_with_its_folder(i)) continue;
    THAW_CHECK(context.alive());
    THAW_CHECK(place(context, i));
  }
  return linked;
}

Result<> Placing::move(uint32_t node, int folder, const std::string& name) {
  const std::string staged = std::to_string(node);
  // Nothing was there when it was compared: what is there now is somebody's who came in between.
  const bool is_new = plan_.scanned[node] == kNone && !in_the_way_.contains(node);
  const unsigned how = is_new ? RENAME_NOREPLACE : 0;
  int done = ::renameat2(stage_.fd(), staged.c_str(), folder, name.c_str(), how);
  // Some network filesystems cannot.
  if (done != 0 && errno == EINVAL && is_new)
    done = ::renameat(stage_.fd(), staged.c_str(), folder, name.c_str());
  if (done == 0) {
    note(node, folder, name);
    return {};
  }
  if (errno == EEXIST && is_new) {
    changed_.push_back(tree_.path(node));
    return {};
  }
  // A device that only root could have made was left out.
  if (errno == ENOENT && tree_.nodes[node].is_device()) return {};
  if (became_something_else(errno)) {
    changed_.push_back(tree_.path(node));
    return {};
  }
  return failed("move into place", node);
}

Result<> Placing::place(const Context& context, uint32_t node) {
  auto at = open_parent_beneath(scan_.root.get(), tree_.path(node));
  if (!at && says_changed(at.error())) {
    changed_.push_back(tree_.path(node));
    return {};
  }
  if (!at) return std::move(at).error();
  const auto old = in_the_way_.find(node);
  const bool folders = old != in_the_way_.end() &&
                       (tree_.nodes[node].is_dir() || scan_.tree.nodes[old->second].is_dir());
  // rename(2) replaces one thing by another in one step, unless one of them is a folder.
  if (!folders) return move(node, at->folder.get(), at->name);
  return exchange(context, node, *at);
}

Result<> Placing::exchange(const Context& context, uint32_t node, const ParentAndName& at) {
  const std::string staged = std::to_string(node);
  const auto exchanged = [&] {
    return ::renameat2(stage_.fd(), staged.c_str(), at.folder.get(), at.name.c_str(),
                       RENAME_EXCHANGE) == 0;
  };
  if (exchanged() || (errno == EACCES && allow_to_move(at.folder.get(), at.name) && exchanged())) {
    note(node, at.folder.get(), at.name);
    return {};
  }
  // What was in the way is gone, or the device was never made.
  if (errno == ENOENT) return move(node, at.folder.get(), at.name);
  return take_turns(context, node, at);
}

// Where names cannot be exchanged: the old thing steps aside, and comes back when the new one
// cannot take its place.
Result<> Placing::take_turns(const Context& context, uint32_t node, const ParentAndName& at) {
  const std::string aside = "old-" + std::to_string(node);
  const int folder = at.folder.get();
  bool kept = ::renameat(folder, at.name.c_str(), stage_.fd(), aside.c_str()) == 0;
  if (!kept && errno == EACCES && allow_to_move(folder, at.name)) {
    kept = ::renameat(folder, at.name.c_str(), stage_.fd(), aside.c_str()) == 0;
  }
  if (!kept && errno != EXDEV) return failed("move away", node);
  // From a lower layer of overlayfs: it cannot be moved, but removed.
  if (!kept) THAW_CHECK(remove_tree(context, folder, at.name).within(target_));
  auto moved = move(node, folder, at.name);
  if (!moved && kept &&
      ::renameat2(stage_.fd(), aside.c_str(), folder, at.name.c_str(), RENAME_NOREPLACE) != 0) {
    log::warn("{}/{} was not put back", target_, tree_.path(node));
  }
  return moved;
}

// Remembers how a file looks now, if it is the one that was staged. Each further name leaves it
// another ctime.
void Placing::note(uint32_t node, int folder, const std::string& name) {
  if (!tree_.nodes[node].is_file()) return;
  const uint32_t first = tree_.nodes[node].is_link() ? tree_.nodes[node].link_to : node;
  const auto staged =
      std::lower_bound(staged_.begin(), staged_.end(), first,
                       [](const TreeWriter::Written& each, uint32_t i) { return each.node < i; });
  if (staged == staged_.end() || staged->node != first) return;
  struct stat status {};
  if (::fstatat(folder, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) return;
  const FileStat now = file_stat_of(status);
  FileStat before = staged->stat;
  before.ctime_ns = now.ctime_ns;
  if (now.same_version(before)) placed_[first] = now;
}

}  // namespace thaw

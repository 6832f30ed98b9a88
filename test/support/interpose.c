// Preloaded into thaw by the fault tests. Counts the calls that change something on disk, over all
// threads; kills the process just before the INTERPOSE_KILL_AT-th (1 is the first). Without that, writes
// the number of calls to INTERPOSE_COUNT_FILE at exit. Names of the calls go to INTERPOSE_TRACE_FILE.
// INTERPOSE_SLOW_UNLINK_US: unlinkat takes so much longer, as on a busy disk.
// INTERPOSE_FAIL_RENAME: the first INTERPOSE_FAIL_RENAME_TIMES renames to this name answer ENOSPC.
// INTERPOSE_REFUSE_LINK: linkat to this name answers EMLINK.
// INTERPOSE_LOSE_LINK: linkat to a path that holds this text takes effect once and answers EIO.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/btrfs.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

static atomic_long g_calls;
static atomic_int g_lost;
static atomic_int g_failed_renames;
static int g_trace = -1;
static pid_t g_process;
static long g_kill_at;

__attribute__((constructor)) static void begin(void) {
  const char* at = getenv("INTERPOSE_KILL_AT");
  const char* trace = getenv("INTERPOSE_TRACE_FILE");
  g_kill_at = at == NULL ? 0 : atol(at);
  if (trace != NULL) g_trace = (int)syscall(SYS_openat, AT_FDCWD, trace, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  g_process = getpid();
}

__attribute__((destructor)) static void end(void) {
  const char* path = getenv("INTERPOSE_COUNT_FILE");
  if (path == NULL || getpid() != g_process) return;
  char text[32];
  const int n = snprintf(text, sizeof text, "%ld\n", (long)g_calls);
  const int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  syscall(SYS_write, fd, text, (size_t)n);
}

static void step(const char* name) {
  const long number = ++g_calls;
  if (g_trace >= 0) {
    char text[64];
    const int n = snprintf(text, sizeof text, "%ld %s\n", number, name);
    syscall(SYS_write, g_trace, text, (size_t)n);
  }
  if (number == g_kill_at) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
  }
}

#define REAL(name) ((__typeof__(&name))real(#name))
static void* real(const char* name) { return dlsym(RTLD_NEXT, name); }

int openat(int folder, const char* path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  const mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(more, mode_t) : 0;
  va_end(more);
  if ((flags & O_CREAT) != 0) step("openat");
  return REAL(openat)(folder, path, flags, mode);
}
int open(const char* path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  const mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(more, mode_t) : 0;
  va_end(more);
  if ((flags & O_CREAT) != 0) step("open");
  return REAL(open)(path, flags, mode);
}
ssize_t write(int fd, const void* from, size_t size) {
  if (fd > 2) step("write");
  return REAL(write)(fd, from, size);
}
ssize_t pwrite(int fd, const void* from, size_t size, off_t at) {
  step("pwrite");
  return REAL(pwrite)(fd, from, size, at);
}
ssize_t copy_file_range(int from, off64_t* from_at, int to, off64_t* to_at, size_t size, unsigned flags) {
  step("copy_file_range");
  return REAL(copy_file_range)(from, from_at, to, to_at, size, flags);
}
int linkat(int from_folder, const char* from, int to_folder, const char* to, int flags) {
  step("linkat");
  const char* refuse = getenv("INTERPOSE_REFUSE_LINK");
  if (refuse != NULL && strcmp(refuse, to) == 0) {
    errno = EMLINK;
    return -1;
  }
  const int answer = REAL(linkat)(from_folder, from, to_folder, to, flags);
  const char* lose = getenv("INTERPOSE_LOSE_LINK");
  if (answer != 0 || lose == NULL) return answer;
  char link[64];
  char path[4096] = "";
  snprintf(link, sizeof link, "/proc/self/fd/%d", to_folder);
  if (to_folder != AT_FDCWD && readlink(link, path, sizeof path - 1) < 0) path[0] = 0;
  strncat(path, "/", sizeof path - strlen(path) - 1);
  strncat(path, to, sizeof path - strlen(path) - 1);
  if (strstr(path, lose) == NULL || atomic_fetch_add(&g_lost, 1) != 0) return answer;
  errno = EIO;
  return -1;
}

int unlinkat(int folder, const char* path, int flags) {
  step("unlinkat");
  const char* slow = getenv("INTERPOSE_SLOW_UNLINK_US");
  if (slow != NULL) usleep((useconds_t)atol(slow));
  return REAL(unlinkat)(folder, path, flags);
}

static int rename_fails(const char* to) {
  const char* name = getenv("INTERPOSE_FAIL_RENAME");
  const char* times = getenv("INTERPOSE_FAIL_RENAME_TIMES");
  if (name == NULL || times == NULL || strcmp(name, to) != 0) return 0;
  if (atomic_fetch_add(&g_failed_renames, 1) >= atoi(times)) return 0;
  errno = ENOSPC;
  return 1;
}
int renameat(int a, const char* from, int b, const char* to) {
  step("renameat");
  return rename_fails(to) ? -1 : REAL(renameat)(a, from, b, to);
}
int renameat2(int a, const char* from, int b, const char* to, unsigned flags) {
  step("renameat2");
  return rename_fails(to) ? -1 : REAL(renameat2)(a, from, b, to, flags);
}

// Of btrfs: subvolumes made, removed, and their flags changed.
int ioctl(int fd, unsigned long request, ...) {
  va_list more;
  va_start(more, request);
  void* argument = va_arg(more, void*);
  va_end(more);
  switch (request) {
    case BTRFS_IOC_SNAP_CREATE_V2:
    case BTRFS_IOC_SUBVOL_CREATE:
    case BTRFS_IOC_SNAP_DESTROY:
    case BTRFS_IOC_SUBVOL_SETFLAGS:
      step("ioctl");
      break;
    default:
      break;
  }
  return REAL(ioctl)(fd, request, argument);
}

#define PASS(name, parameters, arguments) \
  int name parameters {                   \
    step(#name);                          \
    return REAL(name) arguments;          \
  }
PASS(fsync, (int fd), (fd))
PASS(ftruncate, (int fd, off_t size), (fd, size))
PASS(mkdir, (const char* path, mode_t mode), (path, mode))
PASS(mkdirat, (int folder, const char* path, mode_t mode), (folder, path, mode))
PASS(mknodat, (int folder, const char* path, mode_t mode, dev_t device), (folder, path, mode, device))
PASS(rename, (const char* from, const char* to), (from, to))
PASS(symlinkat, (const char* target, int folder, const char* path), (target, folder, path))
PASS(unlink, (const char* path), (path))
PASS(fchmod, (int fd, mode_t mode), (fd, mode))
PASS(fchown, (int fd, uid_t uid, gid_t gid), (fd, uid, gid))
PASS(futimens, (int fd, const struct timespec times[2]), (fd, times))
PASS(utimensat, (int folder, const char* path, const struct timespec times[2], int flags), (folder, path, times, flags))
PASS(fchmodat, (int folder, const char* path, mode_t mode, int flags), (folder, path, mode, flags))
PASS(fchownat, (int folder, const char* path, uid_t uid, gid_t gid, int flags), (folder, path, uid, gid, flags))
PASS(rmdir, (const char* path), (path))
PASS(syncfs, (int fd), (fd))
PASS(mount, (const char* source, const char* target, const char* type, unsigned long flags, const void* data),
     (source, target, type, flags, data))
PASS(umount2, (const char* target, int flags), (target, flags))
PASS(lsetxattr, (const char* path, const char* name, const void* value, size_t size, int flags),
     (path, name, value, size, flags))
PASS(fsetxattr, (int fd, const char* name, const void* value, size_t size, int flags), (fd, name, value, size, flags))

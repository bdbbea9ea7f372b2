/*
 * Preloaded into a process by the tests: counts the calls that change files below FAULT_FOLDER and lets the one numbered FAULT_AT fail.
 * FAULT_KIND: enospc, eio: that call fails so, nothing is done. short: only writes count; half of the bytes are written, and the
 * next two writes to that file fail with ENOSPC. full: from that call on whatever needs space fails with ENOSPC. dead: from that call on all fail with EIO.
 * FAULT_TOLD: a file of one page, in which the parent finds what happened (struct told).
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

struct told {
  atomic_int calls;
  atomic_int failed;      /* how many calls were made to fail */
  atomic_int synced_again; /* syncs of the same file after its sync had failed */
  char call[32];
  char path[1024];
};

static struct told none;
static struct told *told = &none;
static char folder[PATH_MAX];
static size_t folder_length;
static int at = -1;
static enum { ENOSPC_ONCE, EIO_ONCE, SHORT, FULL, DEAD } kind;
static atomic_int half_written;
static char half_path[1024];
static atomic_int sync_failed;
static char sync_path[1024];

#define REAL(name) ((__typeof__(&name))real_of(#name))

static void *real_of(const char *name) {
  void *found = dlsym(RTLD_NEXT, name);
  if (found == NULL) abort();
  return found;
}

__attribute__((constructor)) static void begin(void) {
  const char *where = getenv("FAULT_FOLDER"), *number = getenv("FAULT_AT"), *what = getenv("FAULT_KIND"), *file = getenv("FAULT_TOLD");
  if (where == NULL || number == NULL || what == NULL || file == NULL) return;
  int fd = REAL(open)(file, O_RDWR | O_CREAT, 0600);
  if (fd < 0 || REAL(ftruncate)(fd, 4096) != 0) abort();
  told = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (told == MAP_FAILED) abort();
  close(fd);
  kind = strcmp(what, "eio") == 0 ? EIO_ONCE : strcmp(what, "short") == 0 ? SHORT : strcmp(what, "full") == 0 ? FULL : strcmp(what, "dead") == 0 ? DEAD : ENOSPC_ONCE;
  at = atoi(number);
  snprintf(folder, sizeof folder, "%s", where);
  folder_length = strlen(folder);
}

/* Whether the path is the folder or below it. */
static int is_ours(const char *path) {
  return folder_length > 0 && strncmp(path, folder, folder_length) == 0 && (path[folder_length] == '/' || path[folder_length] == 0);
}

static int path_of(int fd, char *path) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, 1023);
  path[length < 0 ? 0 : length] = 0;
  return length > 0 && is_ours(path);
}

enum class_of_call { WRITE, SPACE, SYNC, OTHER };

/* The errno that this call must fail with; 0: it goes through; -1: half of the write. */
static int fault(const char *call, const char *path, enum class_of_call class) {
  if (at < 0) return 0;
  if (class == SYNC && atomic_load(&sync_failed) && strcmp(path, sync_path) == 0) atomic_fetch_add(&told->synced_again, 1);
  if (kind == SHORT) {
    if (class != WRITE) return 0;
    if (atomic_load(&half_written) > 0 && strcmp(path, half_path) == 0 && atomic_fetch_sub(&half_written, 1) > 0) return ENOSPC;
  }
  int number = atomic_fetch_add(&told->calls, 1) + 1;
  if (number < at || (number > at && kind != FULL && kind != DEAD)) return 0;
  if (kind == FULL && class != WRITE && class != SPACE) return 0;
  if (atomic_fetch_add(&told->failed, 1) == 0) {
    snprintf(told->call, sizeof told->call, "%s", call);
    snprintf(told->path, sizeof told->path, "%s", path);
  }
  if (kind == SHORT) {
    snprintf(half_path, sizeof half_path, "%s", path);
    atomic_store(&half_written, 2); /* libuv keeps the first to itself, and tells what it wrote */
    return -1;
  }
  if (class == SYNC && !atomic_load(&sync_failed)) {
    snprintf(sync_path, sizeof sync_path, "%s", path);
    atomic_store(&sync_failed, 1);
  }
  return kind == EIO_ONCE || kind == DEAD ? EIO : ENOSPC;
}

#define FAIL_BY(code) do { int why = (code); if (why > 0) { errno = why; return -1; } } while (0)
#define OF_FD(call, class) char path[1024]; int why = at >= 0 && path_of(fd, path) ? fault(call, path, class) : 0; if (why > 0) { errno = why; return -1; }

ssize_t write(int fd, const void *bytes, size_t count) {
  OF_FD("write", WRITE)
  return REAL(write)(fd, bytes, why < 0 ? count / 2 : count);
}
ssize_t pwrite(int fd, const void *bytes, size_t count, off_t offset) {
  OF_FD("pwrite", WRITE)
  return REAL(pwrite)(fd, bytes, why < 0 ? count / 2 : count, offset);
}
ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t offset) {
  OF_FD("pwrite64", WRITE)
  return REAL(pwrite64)(fd, bytes, why < 0 ? count / 2 : count, offset);
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
  OF_FD("writev", WRITE)
  if (why < 0) return REAL(write)(fd, parts[0].iov_base, parts[0].iov_len / 2);
  return REAL(writev)(fd, parts, count);
}
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
  OF_FD("pwritev", WRITE)
  if (why < 0) return REAL(pwrite)(fd, parts[0].iov_base, parts[0].iov_len / 2, offset);
  return REAL(pwritev)(fd, parts, count, offset);
}
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset) {
  OF_FD("pwritev64", WRITE)
  if (why < 0) return REAL(pwrite64)(fd, parts[0].iov_base, parts[0].iov_len / 2, offset);
  return REAL(pwritev64)(fd, parts, count, offset);
}
int fsync(int fd) {
  OF_FD("fsync", SYNC)
  return REAL(fsync)(fd);
}
int fdatasync(int fd) {
  OF_FD("fdatasync", SYNC)
  return REAL(fdatasync)(fd);
}
int ftruncate(int fd, off_t length) {
  OF_FD("ftruncate", SPACE)
  return REAL(ftruncate)(fd, length);
}
int ftruncate64(int fd, off64_t length) {
  OF_FD("ftruncate64", SPACE)
  return REAL(ftruncate64)(fd, length);
}
int posix_fallocate(int fd, off_t offset, off_t length) {
  char path[1024];
  int why = at >= 0 && path_of(fd, path) ? fault("posix_fallocate", path, SPACE) : 0;
  return why > 0 ? why : REAL(posix_fallocate)(fd, offset, length);
}
int fallocate(int fd, int mode, off_t offset, off_t length) {
  OF_FD("fallocate", SPACE)
  return REAL(fallocate)(fd, mode, offset, length);
}
int rename(const char *from, const char *to) {
  if (is_ours(to)) FAIL_BY(fault("rename", to, SPACE));
  return REAL(rename)(from, to);
}
int link(const char *from, const char *to) {
  if (is_ours(to)) FAIL_BY(fault("link", to, SPACE));
  return REAL(link)(from, to);
}
int unlink(const char *path) {
  if (is_ours(path)) FAIL_BY(fault("unlink", path, OTHER));
  return REAL(unlink)(path);
}
int mkdir(const char *path, mode_t mode) {
  if (is_ours(path)) FAIL_BY(fault("mkdir", path, SPACE));
  return REAL(mkdir)(path, mode);
}

#define OPENS(name, real) \
  int name(const char *path, int flags, ...) { \
    mode_t mode = 0; \
    if (flags & (O_CREAT | __O_TMPFILE)) { va_list more; va_start(more, flags); mode = va_arg(more, mode_t); va_end(more); } \
    struct stat found; \
    if ((flags & O_CREAT) && is_ours(path) && stat(path, &found) != 0) FAIL_BY(fault("open", path, SPACE)); \
    return real(path, flags, mode); \
  }
static int open_real(const char *path, int flags, mode_t mode) { return REAL(open)(path, flags, mode); }
static int open64_real(const char *path, int flags, mode_t mode) { return REAL(open64)(path, flags, mode); }
OPENS(open, open_real)
OPENS(open64, open64_real)

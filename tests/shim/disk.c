// A disk that forgets and fails. Preloaded into a process, it notes for every file under one folder
// what of it is durable, and lets chosen calls fail or kill the process. tests/src/disk.rs compiles
// it, reads its notes after a kill and makes the folder what a power cut would have left.
//
// Durable is a file's length at the start of its last fsync or fdatasync that succeeded
// (sync_file_range does not count), and a folder's names at its last fsync. Each new file gets a
// second name in `kept`, so that one that was removed or replaced can come back.
//
// The notes are lines written by write(2): they are in the system's memory, not in the process's,
// so a kill loses none. They never claim more than is durable, because each is written after its
// call. What this model does not know (overwriting what was synced, writing through a mapping) is
// noted too, and fails the test.
//
// Its clock leaps ahead now and then, the same in every process of a test, so that days end within
// seconds and what is done with them is cut and fails as well. The monotonic clock does not leap.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the control file is read as little-endian words"
#endif

// In the order of OPERATIONS and KINDS in disk.rs.
enum operation { OPEN, WRITE, SYNC, ALLOCATE, TRUNCATE, RENAME, UNLINK, LINK, MKDIR, OPERATIONS };
enum kind { FOLDER, LOG_OF_WRITES, MANIFEST, TABLE, BLOB, CURRENT, TEMPORARY, OPTIONS, LOG, LOCK, OTHER, KINDS };

// Words of the control file, shared with the test. ANY stands for each operation or kind, and KILL
// for a signal in place of an error.
#define ANY UINT64_MAX
#define KILL 1000
struct control {
  _Atomic uint64_t armed, operation, kind, pass, times, error;
  _Atomic uint64_t met, failed;
  _Atomic uint64_t calls[OPERATIONS][KINDS];
};

// What is known of an open file.
struct file {
  _Atomic uint64_t inode;   // 0: none of ours
  _Atomic uint64_t durable; // bytes
  _Atomic uint8_t kind;
  _Atomic uint8_t appends;
};

#define FILES 65536
static struct file files[FILES];
static struct control *control;
static const char *root, *kept;
static size_t root_length;
static int notes = -1;
static pthread_mutex_t order = PTHREAD_MUTEX_INITIALIZER; // of changes of names and their notes

static int64_t leaps_from, leap_every, leap; // seconds

static int64_t number(const char *name) {
  const char *text = getenv(name);
  return text ? strtoll(text, NULL, 10) : 0;
}

int clock_gettime(clockid_t id, struct timespec *at) {
  int failed = (int)syscall(SYS_clock_gettime, id, at);
  if (!failed && id == CLOCK_REALTIME && leap_every > 0) at->tv_sec += (at->tv_sec - leaps_from) / leap_every * leap;
  return failed;
}

__attribute__((constructor)) static void begin(void) {
  leaps_from = number("TWIN_CLOCK_FROM");
  leap_every = number("TWIN_CLOCK_LEAP_EVERY");
  leap = number("TWIN_CLOCK_LEAP");
  const char *state = getenv("TWIN_DISK_STATE");
  root = getenv("TWIN_DISK_ROOT");
  kept = getenv("TWIN_DISK_KEPT");
  char path[4096];
  if (state && root && kept) {
    root_length = strlen(root);
    snprintf(path, sizeof path, "%s/notes", state);
    notes = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_APPEND | O_CLOEXEC, 0);
    snprintf(path, sizeof path, "%s/control", state);
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0);
    void *shared = fd < 0 ? MAP_FAILED
                          : (void *)syscall(SYS_mmap, NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0L);
    if (notes >= 0 && shared != MAP_FAILED) {
      control = shared;
      return;
    }
  }
  static const char why[] = "disk.c: TWIN_DISK_STATE, TWIN_DISK_ROOT or TWIN_DISK_KEPT cannot be used\n";
  syscall(SYS_write, 2, why, sizeof why - 1);
  _exit(99);
}

__attribute__((format(printf, 1, 2))) static void note(const char *format, ...) {
  char line[8192];
  va_list values;
  va_start(values, format);
  int length = vsnprintf(line, sizeof line, format, values);
  va_end(values);
  int error = errno;
  // A test without its notes proves nothing.
  if (length < 0 || (size_t)length >= sizeof line || syscall(SYS_write, notes, line, length) != length) _exit(98);
  errno = error;
}

static int ours(const char *path) {
  return control && path && strncmp(path, root, root_length) == 0 &&
         (path[root_length] == '/' || !path[root_length]);
}

static struct file *open_file(int fd) {
  return fd >= 0 && fd < FILES && files[fd].inode ? &files[fd] : NULL;
}

static const char *name_of(const char *path) { return strrchr(path, '/') + 1; }

static uint64_t folder_of(const char *path) {
  char folder[4096];
  struct stat is;
  snprintf(folder, sizeof folder, "%.*s", (int)(name_of(path) - 1 - path), path);
  return stat(folder, &is) == 0 ? is.st_ino : 0;
}

static enum kind kind_of(const char *path) {
  const char *name = name_of(path), *dot = strrchr(name, '.');
  if (dot && !strcmp(dot, ".log")) return LOG_OF_WRITES;
  if (dot && !strcmp(dot, ".sst")) return TABLE;
  if (dot && !strcmp(dot, ".blob")) return BLOB;
  if (dot && !strcmp(dot, ".dbtmp")) return TEMPORARY;
  if (!strncmp(name, "MANIFEST-", 9)) return MANIFEST;
  if (!strncmp(name, "OPTIONS-", 8)) return OPTIONS;
  if (!strcmp(name, "CURRENT")) return CURRENT;
  if (!strcmp(name, "LOCK")) return LOCK;
  if (!strncmp(name, "LOG", 3)) return LOG;
  return OTHER;
}

// Counts a call, and says whether it must fail, with errno set.
static int fails(enum operation operation, enum kind kind) {
  control->calls[operation][kind]++;
  if (!control->armed || (control->operation != ANY && control->operation != operation) ||
      (control->kind != ANY && control->kind != kind))
    return 0;
  uint64_t met = control->met++;
  if (met < control->pass || met - control->pass >= control->times) return 0;
  control->failed++;
  if (control->error == KILL) kill(getpid(), SIGKILL);
  errno = (int)control->error;
  return 1;
}

static int opened(const char *path, int flags, mode_t mode) {
  int changes = (flags & O_ACCMODE) != O_RDONLY || (flags & O_CREAT);
  if (!ours(path)) return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
  enum kind kind = kind_of(path);
  if (changes && fails(OPEN, kind)) return -1;
  pthread_mutex_lock(&order);
  struct stat before, is;
  int existed = lstat(path, &before) == 0;
  if (existed && (flags & O_TRUNC) && before.st_size > 0) note("unmodelled\ttruncating open\t%s\n", path);
  int fd = (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
  if (fd >= 0 && fstat(fd, &is) == 0) {
    if (!existed) {
      char keep[4096];
      snprintf(keep, sizeof keep, "%s/%llu", kept, (unsigned long long)is.st_ino);
      if (syscall(SYS_linkat, AT_FDCWD, path, AT_FDCWD, keep, 0) < 0) note("unmodelled\tkeeping\t%s\n", path);
      note("file\t%llu\t%llu\t%s\n", (unsigned long long)folder_of(path), (unsigned long long)is.st_ino, name_of(path));
    }
    if (fd >= FILES) {
      note("unmodelled\tdescriptor\t%s\n", path);
    } else if (changes || S_ISDIR(is.st_mode)) {
      files[fd].kind = S_ISDIR(is.st_mode) ? FOLDER : kind;
      files[fd].appends = (flags & O_APPEND) != 0;
      files[fd].durable = existed ? (uint64_t)is.st_size : 0;
      files[fd].inode = is.st_ino;
    }
  }
  pthread_mutex_unlock(&order);
  return fd;
}

#define MODE(flags, mode)                                                                          \
  mode_t mode = 0;                                                                                 \
  if ((flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE) {                                     \
    va_list values;                                                                                \
    va_start(values, flags);                                                                       \
    mode = va_arg(values, mode_t);                                                                 \
    va_end(values);                                                                                \
  }

int open(const char *path, int flags, ...) {
  MODE(flags, mode)
  return opened(path, flags, mode);
}
int open64(const char *, int, ...) __attribute__((alias("open")));

int openat(int at, const char *path, int flags, ...) {
  MODE(flags, mode)
  // An absolute path makes the folder's descriptor meaningless.
  if (*path == '/') return opened(path, flags, mode);
  if (open_file(at)) note("unmodelled\topening beside a descriptor\t%s\n", path);
  return (int)syscall(SYS_openat, at, path, flags, mode);
}
int openat64(int, const char *, int, ...) __attribute__((alias("openat")));

int close(int fd) {
  struct file *file = open_file(fd);
  if (file) file->inode = 0;
  return (int)syscall(SYS_close, fd);
}

// Whether a write may be done; what was synced must not be written over.
static int may_write(struct file *file, int64_t at) {
  if (fails(WRITE, file->kind)) return 0;
  if (at >= 0 && (uint64_t)at < file->durable) note("unmodelled\toverwriting\t%llu\n", (unsigned long long)file->inode);
  return 1;
}

static int64_t place(int fd, struct file *file) { return file->appends ? -1 : syscall(SYS_lseek, fd, 0, SEEK_CUR); }

ssize_t write(int fd, const void *bytes, size_t count) {
  struct file *file = open_file(fd);
  if (file && !may_write(file, place(fd, file))) return -1;
  return syscall(SYS_write, fd, bytes, count);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
  struct file *file = open_file(fd);
  if (file && !may_write(file, place(fd, file))) return -1;
  return syscall(SYS_writev, fd, parts, count);
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) {
  struct file *file = open_file(fd);
  if (file && !may_write(file, at)) return -1;
  return syscall(SYS_pwrite64, fd, bytes, count, at);
}
ssize_t pwrite64(int, const void *, size_t, off_t) __attribute__((alias("pwrite")));

static int synced(int fd, long call) {
  struct file *file = open_file(fd);
  if (!file) return (int)syscall(call, fd);
  unsigned long long inode = file->inode;
  if (fails(SYNC, file->kind)) {
    // The pages that could not be written are lost: syncing again does not bring them back.
    if (file->kind != FOLDER) note("lost\t%llu\n", inode);
    return -1;
  }
  if (file->kind == FOLDER) {
    pthread_mutex_lock(&order);
    int result = (int)syscall(call, fd);
    if (result == 0) note("names\t%llu\n", inode);
    pthread_mutex_unlock(&order);
    return result;
  }
  struct stat is;
  int known = fstat(fd, &is) == 0;
  int result = (int)syscall(call, fd);
  if (result == 0 && known) {
    file->durable = (uint64_t)is.st_size;
    note("length\t%llu\t%lld\n", inode, (long long)is.st_size);
  }
  return result;
}

int fsync(int fd) { return synced(fd, SYS_fsync); }
int fdatasync(int fd) { return synced(fd, SYS_fdatasync); }

int fallocate(int fd, int mode, off_t at, off_t count) {
  struct file *file = open_file(fd);
  if (file && fails(ALLOCATE, file->kind)) return -1;
  return (int)syscall(SYS_fallocate, fd, mode, at, count);
}
int fallocate64(int, int, off_t, off_t) __attribute__((alias("fallocate")));

int posix_fallocate(int fd, off_t at, off_t count) { return fallocate(fd, 0, at, count) ? errno : 0; }
int posix_fallocate64(int, off_t, off_t) __attribute__((alias("posix_fallocate")));

int ftruncate(int fd, off_t length) {
  struct file *file = open_file(fd);
  if (file) {
    if (fails(TRUNCATE, file->kind)) return -1;
    if ((uint64_t)length < file->durable) note("unmodelled\tshortening\t%llu\n", (unsigned long long)file->inode);
  }
  return (int)syscall(SYS_ftruncate, fd, length);
}
int ftruncate64(int, off_t) __attribute__((alias("ftruncate")));

void *mmap(void *at, size_t length, int protection, int flags, int fd, off_t offset) {
  struct file *file = flags & MAP_ANONYMOUS ? NULL : open_file(fd);
  if (file && (flags & MAP_SHARED) && (protection & PROT_WRITE))
    note("unmodelled\twriting through a mapping\t%llu\n", (unsigned long long)file->inode);
  return (void *)syscall(SYS_mmap, at, length, protection, flags, fd, offset);
}
void *mmap64(void *, size_t, int, int, int, off_t) __attribute__((alias("mmap")));

int rename(const char *from, const char *to) {
  if (!ours(from) || !ours(to)) return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
  if (fails(RENAME, kind_of(from))) return -1;
  pthread_mutex_lock(&order);
  int result = (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
  if (result == 0)
    note("rename\t%llu\t%s\t%llu\t%s\n", (unsigned long long)folder_of(from), name_of(from),
         (unsigned long long)folder_of(to), name_of(to));
  pthread_mutex_unlock(&order);
  return result;
}

static int removed(const char *path, int flags) {
  if (!ours(path)) return (int)syscall(SYS_unlinkat, AT_FDCWD, path, flags);
  if (fails(UNLINK, kind_of(path))) return -1;
  pthread_mutex_lock(&order);
  int result = (int)syscall(SYS_unlinkat, AT_FDCWD, path, flags);
  if (result == 0) note("remove\t%llu\t%s\n", (unsigned long long)folder_of(path), name_of(path));
  pthread_mutex_unlock(&order);
  return result;
}

int unlink(const char *path) { return removed(path, 0); }
int rmdir(const char *path) { return removed(path, AT_REMOVEDIR); }
int unlinkat(int at, const char *path, int flags) {
  if (*path == '/') return removed(path, flags);
  if (open_file(at)) note("unmodelled\tremoving beside a descriptor\t%s\n", path);
  return (int)syscall(SYS_unlinkat, at, path, flags);
}

int mkdir(const char *path, mode_t mode) {
  if (!ours(path)) return (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
  if (fails(MKDIR, FOLDER)) return -1;
  pthread_mutex_lock(&order);
  int result = (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
  struct stat is;
  if (result == 0 && stat(path, &is) == 0)
    note("folder\t%llu\t%llu\t%s\n", (unsigned long long)folder_of(path), (unsigned long long)is.st_ino, name_of(path));
  pthread_mutex_unlock(&order);
  return result;
}

int linkat(int from_at, const char *from, int to_at, const char *to, int flags) {
  if (ours(from) || ours(to)) {
    if (fails(LINK, kind_of(from))) return -1;
    note("unmodelled\tlinking\t%s\n", to);
  }
  return (int)syscall(SYS_linkat, from_at, from, to_at, to, flags);
}
int link(const char *from, const char *to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }

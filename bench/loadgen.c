/*
 * The load generator of `npm run bench`: every measured system call is made here, so that no interpreter's noise is
 * measured. It promises that a number is printed only for work that was done: each workload checks what it read, or
 * what it left in the underlay, and says `fail REASON` otherwise.
 *
 * Talk with bench/loadgen.ts, a line at a time:
 *
 *   loadgen -> ready            warmed up; the driver reads the daemon's CPU time now
 *   driver  -> (a newline)      go
 *   loadgen -> done NS OPS      measured: CLOCK_MONOTONIC nanoseconds for OPS operations
 *   loadgen -> ok [FACT...]     checked;  or at any time instead: fail REASON
 *
 * Paths are relative to --root (the view); --under is the same directory in the underlay, used to check only.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096ul
#define BLOCK (1ul << 20)
#define SMALL 100
#define XATTR_NAME "user.bench"
#define XATTR_VALUE "0123456789abcdef"

extern char **environ;

/* ---- options: plain globals, set once by main ---- */

static const char *root = ".";    /* where the workload runs: a directory of the view */
static const char *under = NULL;  /* the same directory in the underlay */
static const char *list = NULL;   /* file of names, one a line, relative to root */
static const char *file = NULL;   /* file of the data workloads, relative to root */
static uint64_t size = 0;         /* its length in bytes */
static long n = 0;                /* number of operations, where the list does not say */
static long warmup = 0;            /* operations on other names before the measured ones */
static long procs = 1;            /* processes of open-read */
static long idle_ms = 0;          /* pause between warm-up and measurement */
static long owner = -1;           /* uid that must show in the view */
static long under_owner = -1;     /* uid that must show in the underlay */
static uint64_t expect_sum = 0;   /* sum of st_size (lstat), of name hashes (readdir) */
static char **command = NULL;     /* after --, for exec */

/* ---- talking ---- */

static void fail(const char *format, ...) {
  va_list args;
  va_start(args, format);
  fputs("fail ", stdout);
  vprintf(format, args);
  va_end(args);
  putchar('\n');
  fflush(stdout);
  _exit(1);
}

static void fail_errno(const char *what, const char *name) { fail("%s %s: %s", what, name, strerror(errno)); }

static uint64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static uint64_t started;

static void go(void) {
  if (idle_ms > 0) {
    struct timespec t = {idle_ms / 1000, (idle_ms % 1000) * 1000000};
    while (nanosleep(&t, &t) < 0 && errno == EINTR) {
    }
  }
  puts("ready");
  fflush(stdout);
  char c;
  ssize_t r;
  do r = read(STDIN_FILENO, &c, 1);
  while (r < 0 && errno == EINTR);
  if (r != 1) _exit(2); /* the driver is gone */
  started = now();
}

static void done(uint64_t ops) {
  const uint64_t ns = now() - started;
  printf("done %" PRIu64 " %" PRIu64 "\n", ns, ops);
  fflush(stdout);
}

/* ---- names ---- */

static char **names;

static void load_names(void) {
  FILE *f = fopen(list, "re");
  if (!f) fail_errno("open", list);
  size_t room = 0, capacity = 1024;
  char *line = NULL;
  ssize_t got;
  names = malloc(capacity * sizeof *names);
  n = 0;
  while ((got = getline(&line, &room, f)) > 0) {
    line[got - 1] = 0;
    if ((size_t)n == capacity) names = realloc(names, (capacity *= 2) * sizeof *names);
    names[n++] = strdup(line);
  }
  free(line);
  fclose(f);
}

/* The names P0 ... PN-1 for the prefix P. */
static char **make_names(const char *prefix, long count) {
  char **made = malloc((size_t)count * sizeof *made + 1);
  for (long i = 0; i < count; i++)
    if (asprintf(&made[i], "%s%ld", prefix, i) < 0) fail("out of memory");
  return made;
}

/* ---- patterns: every 8 bytes of a data file are a function of their offset and a salt ---- */

static uint64_t mix(uint64_t x) { /* splitmix64 */
  x += 0x9e3779b97f4a7c15ull;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

static void fill(uint64_t *words, size_t bytes, uint64_t offset, uint64_t salt) {
  for (size_t i = 0; i < bytes / 8; i++) words[i] = mix(offset + i * 8 + salt);
}

static void check_pattern(const uint64_t *words, size_t bytes, uint64_t offset, uint64_t salt) {
  for (size_t i = 0; i < bytes / 8; i++)
    if (words[i] != mix(offset + i * 8 + salt)) fail("wrong data at offset %" PRIu64, offset + i * 8);
}

static uint64_t hash_bytes(const char *s, size_t length) { /* FNV-1a */
  uint64_t h = 0xcbf29ce484222325ull;
  for (size_t i = 0; i < length; i++) h = (h ^ (unsigned char)s[i]) * 0x100000001b3ull;
  return h;
}

static void *buffer_of(size_t bytes) {
  void *p = NULL;
  if (posix_memalign(&p, PAGE, bytes)) fail("out of memory");
  memset(p, 0, bytes); /* its page faults must not be measured */
  return p;
}

static int open_or_fail(const char *path, int flags) {
  const int fd = open(path, flags | O_CLOEXEC, 0644);
  if (fd < 0) fail_errno("open", path);
  return fd;
}

static void check_file_pattern(const char *path, uint64_t length, uint64_t salt) {
  const int fd = open_or_fail(path, O_RDONLY);
  uint64_t *buffer = buffer_of(BLOCK);
  uint64_t offset = 0;
  for (;;) {
    const ssize_t r = read(fd, buffer, BLOCK);
    if (r < 0) fail_errno("read", path);
    if (r == 0) break;
    check_pattern(buffer, (size_t)r, offset, salt);
    offset += (uint64_t)r;
  }
  if (offset != length) fail("%s has %" PRIu64 " bytes instead of %" PRIu64, path, offset, length);
  close(fd);
  free(buffer);
}

static char *under_path(const char *name) {
  static char path[PATH_MAX];
  snprintf(path, sizeof path, "%s/%s", under, name);
  return path;
}

/* overlayfs marks a deleted name in its upper layer with a 0:0 character device: that name is absent. */
static bool absent_under(const char *name) {
  struct stat st;
  if (lstat(under_path(name), &st) < 0) return errno == ENOENT;
  return S_ISCHR(st.st_mode) && st.st_rdev == makedev(0, 0);
}

static struct stat stat_under(const char *name) {
  struct stat st;
  if (lstat(under_path(name), &st) < 0) fail_errno("not in the underlay:", name);
  return st;
}

/* ---- workloads: names and attributes ---- */

static uint64_t lstat_all(void) {
  uint64_t sum = 0;
  struct stat st;
  for (long i = 0; i < n; i++) {
    if (lstat(names[i], &st) < 0) fail_errno("lstat", names[i]);
    if (owner >= 0 && st.st_uid != (uid_t)owner) fail("%s belongs to %u instead of %ld", names[i], st.st_uid, owner);
    sum += (uint64_t)st.st_size;
  }
  return sum;
}

static void run_lstat(void) {
  load_names();
  lstat_all();
  go();
  const uint64_t sum = lstat_all();
  done((uint64_t)n);
  if (sum != expect_sum) fail("sizes add up to %" PRIu64 " instead of %" PRIu64, sum, expect_sum);
}

/* Names that nobody looked up before: each costs a LOOKUP. */
static void run_lookup(void) {
  load_names();
  go();
  const uint64_t sum = lstat_all();
  done((uint64_t)n);
  if (sum != expect_sum) fail("sizes add up to %" PRIu64 " instead of %" PRIu64, sum, expect_sum);
}

static void absent_all(void) {
  struct stat st;
  for (long i = 0; i < n; i++) {
    if (lstat(names[i], &st) == 0) fail("%s exists", names[i]);
    if (errno != ENOENT) fail_errno("lstat", names[i]);
  }
}

static void run_absent(void) {
  load_names();
  absent_all();
  go();
  absent_all();
  done((uint64_t)n);
}

/* Entries of all listed directories; expect_sum is the sum of the hashes of their names. */
static uint64_t readdir_all(uint64_t *entries) {
  uint64_t sum = 0;
  for (long i = 0; i < n; i++) {
    DIR *d = opendir(names[i]);
    if (!d) fail_errno("opendir", names[i]);
    struct dirent *e;
    errno = 0;
    while ((e = readdir(d))) {
      if (e->d_name[0] == '.' && (!e->d_name[1] || (e->d_name[1] == '.' && !e->d_name[2]))) continue;
      sum += hash_bytes(e->d_name, strlen(e->d_name));
      ++*entries;
    }
    if (errno) fail_errno("readdir", names[i]);
    closedir(d);
  }
  return sum;
}

static void run_readdir(void) {
  uint64_t entries = 0;
  load_names();
  readdir_all(&entries);
  entries = 0;
  go();
  const uint64_t sum = readdir_all(&entries);
  done(entries);
  if (sum != expect_sum) fail("the listings are not the directories' (%" PRIu64 " names)", entries);
}

/* ---- workloads: data ---- */

static void run_read(void) {
  check_file_pattern(file, size, 0);
  uint64_t *buffer = buffer_of(BLOCK);
  go();
  const int fd = open_or_fail(file, O_RDONLY);
  uint64_t offset = 0;
  for (;;) {
    const ssize_t r = read(fd, buffer, BLOCK);
    if (r < 0) fail_errno("read", file);
    if (r == 0) break;
    for (size_t i = 0; i < (size_t)r / 8; i += PAGE / 8)
      if (buffer[i] != mix(offset + i * 8)) fail("wrong data at offset %" PRIu64, offset + i * 8);
    offset += (uint64_t)r;
  }
  close(fd);
  done(1);
  if (offset != size) fail("read %" PRIu64 " bytes instead of %" PRIu64, offset, size);
}

static void touch_pages(void) {
  const int fd = open_or_fail(file, O_RDONLY);
  const uint64_t *map = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
  if (map == MAP_FAILED) fail_errno("mmap", file);
  for (uint64_t offset = 0; offset < size; offset += PAGE)
    if (map[offset / 8] != mix(offset)) fail("wrong data at offset %" PRIu64, offset);
  munmap((void *)map, size);
  close(fd);
}

static void run_mmap(void) {
  touch_pages();
  go();
  touch_pages();
  done(1);
}

static void run_random_read(void) {
  check_file_pattern(file, size, 0);
  uint64_t *buffer = buffer_of(PAGE);
  const int fd = open_or_fail(file, O_RDONLY);
  uint64_t random = 1;
  go();
  for (long i = 0; i < n; i++) {
    const uint64_t offset = (random = mix(random)) % (size / PAGE) * PAGE;
    if (pread(fd, buffer, PAGE, (off_t)offset) != (ssize_t)PAGE) fail_errno("pread", file);
    if (buffer[0] != mix(offset)) fail("wrong data at offset %" PRIu64, offset);
  }
  done((uint64_t)n);
}

static void run_append(void) {
  char *line = buffer_of(SMALL);
  const int fd = open_or_fail(file, O_WRONLY | O_CREAT | O_APPEND);
  go();
  for (long i = 0; i < n; i++) {
    memset(line, 'a' + (int)(i % 26), SMALL);
    if (write(fd, line, SMALL) != SMALL) fail_errno("write", file);
  }
  if (close(fd) < 0) fail_errno("close", file);
  done((uint64_t)n);

  FILE *check = fopen(under_path(file), "re");
  if (!check) fail_errno("not in the underlay:", file);
  for (long i = 0; i < n; i++) {
    if (fread(line, SMALL, 1, check) != 1) fail("the underlay's file is short: %ld of %ld records", i, n);
    if (line[0] != 'a' + i % 26 || line[SMALL - 1] != line[0]) fail("record %ld is not what was written", i);
  }
  if (fgetc(check) != EOF) fail("the underlay's file is too long");
  fclose(check);
}

static void run_write(void) {
  const uint64_t salt = 7;
  uint64_t *blocks = buffer_of(BLOCK);
  go();
  const int fd = open_or_fail(file, O_WRONLY | O_CREAT | O_TRUNC);
  for (uint64_t offset = 0; offset < size; offset += BLOCK) {
    fill(blocks, 8, offset, salt); /* tell the blocks apart without measuring the filling */
    if (write(fd, blocks, BLOCK) != (ssize_t)BLOCK) fail_errno("write", file);
  }
  if (close(fd) < 0) fail_errno("close", file);
  done(1);

  const int check = open_or_fail(under_path(file), O_RDONLY);
  for (uint64_t offset = 0; offset < size; offset += BLOCK) {
    if (read(check, blocks, BLOCK) != (ssize_t)BLOCK) fail("the underlay's file is short: %" PRIu64, offset);
    check_pattern(blocks, 8, offset, salt);
  }
  if (read(check, blocks, 1) != 0) fail("the underlay's file is too long");
  close(check);
}

static void run_random_write(void) {
  uint64_t *block = buffer_of(PAGE);
  const int fd = open_or_fail(file, O_WRONLY);
  struct stat st;
  if (fstat(fd, &st) < 0 || (uint64_t)st.st_size != size) fail("%s is not %" PRIu64 " bytes long", file, size);
  uint64_t random = 1;
  go();
  for (long i = 0; i < n; i++) {
    const uint64_t offset = (random = mix(random)) % (size / PAGE) * PAGE;
    block[0] = mix(offset + 3);
    if (pwrite(fd, block, PAGE, (off_t)offset) != (ssize_t)PAGE) fail_errno("pwrite", file);
  }
  if (close(fd) < 0) fail_errno("close", file);
  done((uint64_t)n);

  const int check = open_or_fail(under_path(file), O_RDONLY);
  random = 1;
  for (long i = 0; i < n; i++) {
    const uint64_t offset = (random = mix(random)) % (size / PAGE) * PAGE;
    if (pread(check, block, PAGE, (off_t)offset) != (ssize_t)PAGE) fail_errno("pread", file);
    if (block[0] != mix(offset + 3)) fail("offset %" PRIu64 " of the underlay was not written", offset);
  }
  close(check);
}

/* ---- workloads: one small operation on many files ---- */

static void open_read(long first, long step, char *buffer) {
  for (long i = first; i < n; i += step) {
    const int fd = open_or_fail(names[i], O_RDONLY);
    const ssize_t r = read(fd, buffer, PAGE);
    if (r <= 0) fail_errno("read", names[i]);
    /* every file of the tree starts with its own path */
    if (memcmp(buffer, names[i], strlen(names[i]))) fail("%s has another file's content", names[i]);
    close(fd);
  }
}

static void run_open_read(void) {
  load_names();
  char *buffer = buffer_of(PAGE);
  open_read(0, 1, buffer);
  if (procs == 1) {
    go();
    open_read(0, 1, buffer);
    done((uint64_t)n);
    return;
  }
  int gate[2];
  if (pipe(gate) < 0) fail_errno("pipe", "");
  for (long p = 0; p < procs; p++) {
    const pid_t child = fork();
    if (child < 0) fail_errno("fork", "");
    if (child == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      char c;
      close(gate[1]);
      (void)!read(gate[0], &c, 1); /* end of file when the parent opens the gate */
      open_read(p, procs, buffer);
      _exit(0);
    }
  }
  go();
  close(gate[1]);
  bool good = true;
  for (long p = 0; p < procs; p++) {
    int status;
    if (wait(&status) < 0) fail_errno("wait", "");
    if (status) good = false;
  }
  done((uint64_t)n);
  if (!good) _exit(1); /* the child said why */
}

/*
 * One operation on one name. Each is done --warmup times on the names w0, w1 ... first, so that a daemon that compiles
 * its code while it runs is measured as it is after a while, then measured on f0, f1 ...
 */
struct operation {
  const char *name;
  bool existing; /* the names are there and are looked up before */
  void (*run)(const char *name);
  void (*check)(const char *name); /* in the underlay, and where owners matter in the view */
};

static void *record; /* SMALL bytes to write */

static void check_owners(const char *name, const struct stat *below) {
  struct stat st;
  if (below->st_uid != (uid_t)under_owner) fail("%s belongs to %u in the underlay", name, below->st_uid);
  if (lstat(name, &st) < 0) fail_errno("lstat", name);
  if (st.st_uid != (uid_t)owner) fail("%s belongs to %u in the view", name, st.st_uid);
}

static void do_create(const char *name) {
  const int fd = open_or_fail(name, O_WRONLY | O_CREAT | O_EXCL);
  if (write(fd, record, SMALL) != SMALL) fail_errno("write", name);
  if (close(fd) < 0) fail_errno("close", name);
}

static void check_create(const char *name) {
  const struct stat st = stat_under(name);
  if (st.st_size != SMALL) fail("%s has %ld bytes in the underlay", name, (long)st.st_size);
  check_owners(name, &st);
}

static void do_mkdir(const char *name) {
  if (mkdir(name, 0755) < 0) fail_errno("mkdir", name);
}

static void check_mkdir(const char *name) {
  const struct stat st = stat_under(name);
  if (!S_ISDIR(st.st_mode)) fail("%s is no directory in the underlay", name);
  check_owners(name, &st);
}

static void do_unlink(const char *name) {
  if (unlink(name) < 0) fail_errno("unlink", name);
}

static void do_rmdir(const char *name) {
  if (rmdir(name) < 0) fail_errno("rmdir", name);
}

static void check_absent(const char *name) {
  if (!absent_under(name)) fail("%s is still in the underlay", name);
}

static const char *renamed(const char *name) {
  static char to[64];
  snprintf(to, sizeof to, "to-%s", name);
  return to;
}

static void do_rename(const char *name) {
  if (rename(name, renamed(name)) < 0) fail_errno("rename", name);
}

static void check_rename(const char *name) {
  check_absent(name);
  stat_under(renamed(name));
}

static void do_chmod(const char *name) {
  if (chmod(name, 0604) < 0) fail_errno("chmod", name);
}

static void check_chmod(const char *name) {
  const struct stat st = stat_under(name);
  if ((st.st_mode & 07777) != 0604) fail("%s has mode %o in the underlay", name, st.st_mode & 07777);
}

static void do_setxattr(const char *name) {
  if (setxattr(name, XATTR_NAME, XATTR_VALUE, strlen(XATTR_VALUE), 0) < 0) fail_errno("setxattr", name);
}

static void check_setxattr(const char *name) {
  char value[64];
  if (getxattr(under_path(name), XATTR_NAME, value, sizeof value) != (ssize_t)strlen(XATTR_VALUE))
    fail("%s has no %s in the underlay", name, XATTR_NAME);
}

static void do_getxattr(const char *name) {
  char value[64];
  const ssize_t r = getxattr(name, XATTR_NAME, value, sizeof value);
  if (r < 0) fail_errno("getxattr", name);
  if ((size_t)r != strlen(XATTR_VALUE) || memcmp(value, XATTR_VALUE, (size_t)r)) fail("%s: wrong value", name);
}

static const struct operation operations[] = {
    {"create", false, do_create, check_create}, {"mkdir", false, do_mkdir, check_mkdir},
    {"unlink", true, do_unlink, check_absent},  {"rmdir", true, do_rmdir, check_absent},
    {"rename", true, do_rename, check_rename},  {"chmod", true, do_chmod, check_chmod},
    {"setxattr", true, do_setxattr, check_setxattr}, {"getxattr", true, do_getxattr, NULL},
};

static void run_operation(const struct operation *operation) {
  record = buffer_of(SMALL);
  char **warm = make_names("w", warmup);
  names = make_names("f", n);
  if (operation->existing) {
    lstat_all();
    for (long i = 0; i < warmup; i++) {
      struct stat st;
      if (lstat(warm[i], &st) < 0) fail_errno("lstat", warm[i]);
    }
  }
  for (long i = 0; i < warmup; i++) operation->run(warm[i]);
  go();
  for (long i = 0; i < n; i++) operation->run(names[i]);
  done((uint64_t)n);
  if (!operation->check) return;
  for (long i = 0; i < n; i++) operation->check(names[i]);
}

/* ---- workload: a command; its output is read here and summed up without regard to the order of its lines ---- */

static bool warm_command = false;

static void run_once(uint64_t facts[3]) {
  int out[2];
  if (pipe2(out, O_CLOEXEC) < 0) fail_errno("pipe", "");
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
  pid_t child;
  const int error = posix_spawnp(&child, command[0], &actions, NULL, command, environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error) fail("%s: %s", command[0], strerror(error));
  close(out[1]);

  static char buffer[1 << 16];
  uint64_t lines = 0, hash = 0xcbf29ce484222325ull, sum = 0, bytes = 0;
  ssize_t r;
  while ((r = read(out[0], buffer, sizeof buffer)) > 0) {
    bytes += (uint64_t)r;
    if (expect_sum) continue; /* --expect-sum 1: count bytes only (an archive has no lines) */
    for (ssize_t i = 0; i < r; i++) {
      if (buffer[i] == '\n') {
        sum += hash;
        hash = 0xcbf29ce484222325ull;
        lines++;
      } else {
        hash = (hash ^ (unsigned char)buffer[i]) * 0x100000001b3ull;
      }
    }
  }
  close(out[0]);
  int status;
  if (waitpid(child, &status, 0) < 0) fail_errno("wait", command[0]);
  if (WIFSIGNALED(status)) fail("%s was killed by signal %d", command[0], WTERMSIG(status));
  if (WEXITSTATUS(status)) fail("%s exited with %d", command[0], WEXITSTATUS(status));
  facts[0] = lines;
  facts[1] = sum;
  facts[2] = bytes;
}

static uint64_t facts[3];

static void run_exec(void) {
  if (warm_command) run_once(facts);
  go();
  run_once(facts);
  done(1);
}

/* ---- preparation, in the underlay, never measured ---- */

static void run_fill(void) {
  uint64_t *blocks = buffer_of(BLOCK);
  const int fd = open_or_fail(file, O_WRONLY | O_CREAT | O_TRUNC);
  for (uint64_t offset = 0; offset < size; offset += BLOCK) {
    const size_t part = size - offset < BLOCK ? size - offset : BLOCK;
    fill(blocks, part, offset, 0);
    if (write(fd, blocks, part) != (ssize_t)part) fail_errno("write", file);
  }
  if (close(fd) < 0) fail_errno("close", file);
}

static void seed(const char *prefix, long count, void (*make)(const char *name)) {
  char **made = make_names(prefix, count);
  for (long i = 0; i < count; i++) make(made[i]);
}

static void seed_file(const char *name) {
  const size_t length = size < SMALL ? size : SMALL; /* --size, at most 100 bytes */
  const int fd = open_or_fail(name, O_WRONLY | O_CREAT | O_EXCL);
  if (length > 0 && write(fd, record, length) != (ssize_t)length) fail_errno("write", name);
  if (expect_sum && fsetxattr(fd, XATTR_NAME, XATTR_VALUE, strlen(XATTR_VALUE), 0) < 0) fail_errno("setxattr", name);
  close(fd);
}

static void run_seed_files(void) {
  record = buffer_of(SMALL);
  seed("w", warmup, seed_file);
  seed("f", n, seed_file);
}

static void run_seed_dirs(void) {
  seed("w", warmup, do_mkdir);
  seed("f", n, do_mkdir);
}

static const struct {
  const char *name;
  void (*run)(void);
} workloads[] = {
    {"lstat", run_lstat},           {"lookup", run_lookup},         {"absent", run_absent},
    {"readdir", run_readdir},       {"read", run_read},             {"mmap", run_mmap},
    {"random-read", run_random_read}, {"append", run_append},       {"write", run_write},
    {"random-write", run_random_write}, {"open-read", run_open_read}, {"exec", run_exec},
    {"fill", run_fill},             {"seed-files", run_seed_files}, {"seed-dirs", run_seed_dirs},
};

int main(int argc, char **argv) {
  prctl(PR_SET_PDEATHSIG, SIGKILL); /* nothing of a run outlives its driver */
  if (argc < 2) fail("usage: loadgen WORKLOAD [--option value]... [-- command...]");
  for (int i = 2; i < argc; i++) {
    const char *option = argv[i];
    if (!strcmp(option, "--")) {
      command = argv + i + 1;
      break;
    }
    if (!strcmp(option, "--warm")) {
      warm_command = true;
      continue;
    }
    if (i + 1 == argc) fail("%s needs a value", option);
    const char *value = argv[++i];
    if (!strcmp(option, "--root")) root = value;
    else if (!strcmp(option, "--under")) under = value;
    else if (!strcmp(option, "--list")) list = value;
    else if (!strcmp(option, "--file")) file = value;
    else if (!strcmp(option, "--size")) size = strtoull(value, NULL, 10);
    else if (!strcmp(option, "--n")) n = atol(value);
    else if (!strcmp(option, "--warmup")) warmup = atol(value);
    else if (!strcmp(option, "--procs")) procs = atol(value);
    else if (!strcmp(option, "--idle-ms")) idle_ms = atol(value);
    else if (!strcmp(option, "--owner")) owner = atol(value);
    else if (!strcmp(option, "--under-owner")) under_owner = atol(value);
    else if (!strcmp(option, "--expect-sum")) expect_sum = strtoull(value, NULL, 10);
    else fail("unknown option %s", option);
  }
  if (chdir(root) < 0) fail_errno("chdir", root);
  bool known = false;
  for (size_t i = 0; i < sizeof workloads / sizeof *workloads; i++) {
    if (strcmp(workloads[i].name, argv[1])) continue;
    workloads[i].run();
    known = true;
  }
  for (size_t i = 0; i < sizeof operations / sizeof *operations; i++) {
    if (strcmp(operations[i].name, argv[1])) continue;
    run_operation(&operations[i]);
    known = true;
  }
  if (!known) fail("unknown workload %s", argv[1]);
  printf("ok %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", facts[0], facts[1], facts[2]);
  return 0;
}

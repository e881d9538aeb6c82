// The two sides of a race for the way out of an underlay (escape.test.ts):
//
//   race swap UNDERLAY            exchanges names for links to places outside, as fast as it can, until it is killed
//   race attack VIEW COUNT SEED   uses those names through the view, COUNT times, in every way there is
//
// The attacker's own kernel follows a link in the attacker's own rights, which is no business of the view: the place outside
// is for host root alone, so whatever of it is read, changed or made, the daemon did. Prints counts of what happened; exit
// status 2 when the secret was read.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

static int swap(const char *underlay) {
  // From descriptors: a path of ours would be led astray by ourselves.
  const int top = open(underlay, O_PATH | O_DIRECTORY), d = openat(top, "d", O_PATH | O_DIRECTORY);
  const struct {
    int dir;
    const char *name, *link;
  } pairs[] = {{top, "d", "link-d"}, {top, "f", "link-f"}, {top, "d2", "link-up"}, {d, "f", "link-f"}, {d, "sub", "link-sub"}};
  if (top < 0 || d < 0) return 1;
  for (unsigned i = 0;; i++)
    renameat2(pairs[i % 5].dir, pairs[i % 5].name, pairs[i % 5].dir, pairs[i % 5].link, RENAME_EXCHANGE);
}

static unsigned state;
static unsigned below(unsigned n) {
  state ^= state << 13, state ^= state >> 17, state ^= state << 5;
  return state % n;
}

static long opened, failed, escapes, links;

/** Reads what was opened; it must not be the secret. */
static void look(int fd) {
  char buffer[64] = "";
  if (fd < 0) {
    failed++;
    return;
  }
  opened++;
  if (read(fd, buffer, sizeof buffer - 1) > 0 && strstr(buffer, "secret") != NULL) escapes++;
  close(fd);
}

static void count(int result) {
  if (result < 0) failed++;
  else opened++;
}

int main(int argc, char **argv) {
  if (argc == 3 && strcmp(argv[1], "swap") == 0) return swap(argv[2]);
  if (argc != 5 || chdir(argv[2]) != 0) return 1;
  const long attempts = atol(argv[3]);
  state = (unsigned)strtoul(argv[4], NULL, 10) | 1;
  static const char *const names[] = {"d/f", "d/sub/f", "f", "d2/f", "d/sub/sub2/f", "link-d/f", "link-f", "link-up/f"};
  static const char *const directories[] = {"d", "d2", "d/sub", "link-d", "link-up"};
  char path[256], other[256];
  for (long i = 0; i < attempts; i++) {
    const char *name = names[below(8)], *directory = directories[below(5)];
    // Held open, so that the next step starts from what the view gave and not from a path.
    int dir = open(directory, O_RDONLY | O_DIRECTORY);
    int at = dir >= 0 ? dir : AT_FDCWD;
    switch (below(14)) {
    case 0: look(open(name, O_RDONLY)); break;
    case 1: look(open(name, O_RDWR | O_NOFOLLOW)); break;
    case 2: look(openat(at, "f", O_RDWR | O_CREAT, 0666)); break;
    case 3: {
      int fd = openat(at, "f", O_WRONLY | O_TRUNC | O_CREAT, 0666);
      if (fd >= 0 && write(fd, "inside", 6) < 0) failed++;
      count(fd);
      if (fd >= 0) close(fd);
      break;
    }
    case 4: count(mkdirat(at, "made", 0755)); count(unlinkat(at, "made", AT_REMOVEDIR)); break;
    case 5: count(symlinkat("target", at, "made-link")); count(unlinkat(at, "made-link", 0)); break;
    case 6: count(renameat(at, "f", at, "g")); count(renameat(at, "g", at, "f")); break;
    case 7: count(linkat(at, "f", at, "made-hard", 0)); count(unlinkat(at, "made-hard", 0)); break;
    case 8: count(fchmodat(at, "f", 0666, 0)); break;
    case 9: count(fchownat(at, "f", 1, 1, 0)); break;
    case 10:
      snprintf(path, sizeof path, "%s/f", directory);
      count(setxattr(path, "user.race", "x", 1, 0));
      count(removexattr(path, "user.race"));
      break;
    case 11: count(truncate(name, 6)); break;
    case 12: {
      ssize_t length = readlink(below(2) ? "d" : "f", other, sizeof other);
      if (length > 0) links++;
      break;
    }
    default: count(utimensat(at, "f", NULL, 0)); break;
    }
    if (dir >= 0) close(dir);
  }
  printf("{\"attempts\": %ld, \"done\": %ld, \"failed\": %ld, \"links\": %ld, \"escapes\": %ld}\n", attempts, opened, failed, links, escapes);
  return escapes > 0 ? 2 : 0;
}

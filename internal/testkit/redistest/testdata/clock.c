// A wall clock that a test can set, for one process: gettimeofday, time and
// clock_gettime(CLOCK_REALTIME) add an offset that stands in a file. Loaded by
// LD_PRELOAD. CLOCK_FILE names the file: one int64 in the machine's byte order,
// microseconds, mapped shared, so that a write by the test takes effect at the
// process's next look at its clock. The monotonic clock stays as it is.

#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static int64_t none;
static volatile int64_t *offset = &none;

__attribute__((constructor)) static void map_offset(void) {
	const char *name = getenv("CLOCK_FILE");
	if (name == NULL) return;
	int fd = open(name, O_RDONLY | O_CLOEXEC);
	if (fd < 0) abort(); // a test that believes in a clock it cannot set is worth nothing
	void *p = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED) abort();
	close(fd);
	offset = p;
}

int clock_gettime(clockid_t id, struct timespec *ts) {
	int r = (int)syscall(SYS_clock_gettime, id, ts);
	if (r != 0 || (id != CLOCK_REALTIME && id != CLOCK_REALTIME_COARSE)) return r;
	int64_t us = __atomic_load_n(offset, __ATOMIC_RELAXED);
	int64_t ns = (int64_t)ts->tv_nsec + us % 1000000 * 1000;
	ts->tv_sec += us / 1000000;
	if (ns < 0) {
		ns += 1000000000;
		ts->tv_sec--;
	} else if (ns >= 1000000000) {
		ns -= 1000000000;
		ts->tv_sec++;
	}
	ts->tv_nsec = ns;
	return 0;
}

int gettimeofday(struct timeval *restrict tv, void *restrict zone) {
	(void)zone;
	struct timespec ts;
	int r = clock_gettime(CLOCK_REALTIME, &ts);
	if (r == 0) {
		tv->tv_sec = ts.tv_sec;
		tv->tv_usec = ts.tv_nsec / 1000;
	}
	return r;
}

time_t time(time_t *t) {
	struct timespec ts;
	clock_gettime(CLOCK_REALTIME, &ts);
	if (t != NULL) *t = ts.tv_sec;
	return ts.tv_sec;
}

// SPDX-License-Identifier: Apache-2.0
// Preloaded into kvmbox (LD_PRELOAD): its first vCPU does what $BREAKOUT says when it is about to
// enter the guest, as a device that a guest has taken over could. Whatever is not forbidden to it
// is told on standard error.
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static void act(const char *what)
{
	long ret = -1;

	if (!strcmp(what, "open"))
		ret = open("/etc/passwd", O_RDONLY);
	else if (!strcmp(what, "exec"))
		ret = execl("/bin/true", "true", NULL);
	else if (!strcmp(what, "socket"))
		ret = socket(AF_INET, SOCK_STREAM, 0);
	else if (!strcmp(what, "kill"))
		ret = kill(-1, SIGKILL);
	else if (!strcmp(what, "code"))
		ret = (long)mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1,
				 0);
	else if (!strcmp(what, "ring"))
		ret = syscall(SYS_io_uring_setup, 1, NULL);
	else if (!strcmp(what, "abort"))
		abort();
	/* It goes on, so it was not killed: whether it got what it wanted is all the same. */
	const char *text = ret < 0 ? "it lives on, refused\n" : "it lives on, and has it\n";

	(void)!write(STDERR_FILENO, text, strlen(text));
}

int ioctl(int fd, unsigned long request, ...)
{
	static atomic_bool done;
	const char *what = getenv("BREAKOUT");
	va_list ap;

	va_start(ap, request);
	void *arg = va_arg(ap, void *);

	va_end(ap);
	if (request == KVM_RUN && what && !atomic_exchange(&done, true))
		act(what);
	return (int)syscall(SYS_ioctl, fd, request, arg);
}

// SPDX-License-Identifier: Apache-2.0
#include "supervisor/nft.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <nftables/libnftables.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"

/* What the child's exit status says; there are words on the pipe with the last. */
enum { CHILD_DONE, CHILD_NO_LIBRARY, CHILD_REFUSED };

#define SYMBOL(library, name) ((__typeof__(&(name)))dlsym(library, #name))

static int run_in_child(const char *commands, int pipe)
{
	void *library = dlopen("libnftables.so.1", RTLD_NOW);

	if (!library)
		return CHILD_NO_LIBRARY;
	__typeof__(&nft_ctx_new) ctx_new = SYMBOL(library, nft_ctx_new);
	__typeof__(&nft_ctx_buffer_output) buffer_output = SYMBOL(library, nft_ctx_buffer_output);
	__typeof__(&nft_ctx_buffer_error) buffer_error = SYMBOL(library, nft_ctx_buffer_error);
	__typeof__(&nft_run_cmd_from_buffer) run = SYMBOL(library, nft_run_cmd_from_buffer);
	__typeof__(&nft_ctx_get_error_buffer) get_error = SYMBOL(library, nft_ctx_get_error_buffer);
	if (!ctx_new || !buffer_output || !buffer_error || !run || !get_error)
		return CHILD_NO_LIBRARY;

	struct nft_ctx *ctx = ctx_new(NFT_CTX_DEFAULT);

	if (!ctx || buffer_output(ctx) || buffer_error(ctx))
		return CHILD_REFUSED;
	if (run(ctx, commands) == 0)
		return CHILD_DONE;
	const char *text = get_error(ctx);
	ssize_t ret = write(pipe, text, strcspn(text, "\n"));

	(void)ret; /* without words the sentence is a shorter one */
	return CHILD_REFUSED;
}

/* Read to the end of @fd what fits, as a string. */
static void read_words(int fd, char *text, size_t size)
{
	size_t len = 0;
	ssize_t n;

	while ((n = read(fd, text + len, size - 1 - len)) > 0 || (n < 0 && errno == EINTR))
		len += n > 0 ? (size_t)n : 0;
	text[len] = '\0';
}

int nft_run(const char *commands, struct error *err)
{
	char words[512];
	int pipe[2];
	int status;

	if (pipe2(pipe, O_CLOEXEC))
		return error_set(err, errno, "cannot make a pipe: %s", strerror(errno));
	pid_t pid = fork();

	if (!pid)
		_exit(run_in_child(commands, pipe[1]));
	int fork_errno = errno;

	close(pipe[1]);
	if (pid > 0)
		read_words(pipe[0], words, sizeof(words));
	close(pipe[0]);
	if (pid < 0)
		return error_set(err, fork_errno, "cannot start a process for the firewall: %s",
				 strerror(fork_errno));
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return error_set(err, errno, "the firewall's process is lost: %s",
					 strerror(errno));
	if (WIFEXITED(status) && WEXITSTATUS(status) == CHILD_DONE)
		return 0;
	if (WIFEXITED(status) && WEXITSTATUS(status) == CHILD_NO_LIBRARY)
		return error_set(err, ENOENT,
				 "libnftables is missing, which sets up the rules around a guest's "
				 "network card: install libnftables1");
	return error_set(err, EPERM, "the host's firewall (nftables) does not take the rules: %s",
			 words[0] ? words : "no reason is given");
}

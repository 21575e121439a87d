// SPDX-License-Identifier: Apache-2.0
#include "supervisor/nft.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <nftables/libnftables.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/read.h"

#define ANSWER_MAX (16u << 20)

/* What the child's exit status says; there are words on the pipe with the last. */
enum { CHILD_DONE, CHILD_NO_LIBRARY, CHILD_REFUSED };

#define SYMBOL(library, name) ((__typeof__(&(name)))dlsym(library, #name))

static void write_all(int fd, const char *text, size_t len)
{
	ssize_t n;

	/* Who reads less knows by the end of what came. */
	for (; len && (n = write(fd, text, len)) > 0; text += n)
		len -= (size_t)n;
}

/* With @answer, what the commands print goes to the pipe, as JSON. */
static int run_in_child(const char *commands, bool answer, int pipe)
{
	void *library = dlopen("libnftables.so.1", RTLD_NOW);

	if (!library)
		return CHILD_NO_LIBRARY;
	__typeof__(&nft_ctx_new) ctx_new = SYMBOL(library, nft_ctx_new);
	__typeof__(&nft_ctx_buffer_output) buffer_output = SYMBOL(library, nft_ctx_buffer_output);
	__typeof__(&nft_ctx_buffer_error) buffer_error = SYMBOL(library, nft_ctx_buffer_error);
	__typeof__(&nft_run_cmd_from_buffer) run = SYMBOL(library, nft_run_cmd_from_buffer);
	__typeof__(&nft_ctx_get_error_buffer) get_error = SYMBOL(library, nft_ctx_get_error_buffer);
	__typeof__(&nft_ctx_output_set_flags) set_flags = SYMBOL(library, nft_ctx_output_set_flags);
	__typeof__(&nft_ctx_get_output_buffer) get_output =
		SYMBOL(library, nft_ctx_get_output_buffer);
	if (!ctx_new || !buffer_output || !buffer_error || !run || !get_error || !set_flags ||
	    !get_output)
		return CHILD_NO_LIBRARY;

	struct nft_ctx *ctx = ctx_new(NFT_CTX_DEFAULT);

	if (!ctx || buffer_output(ctx) || buffer_error(ctx))
		return CHILD_REFUSED;
	if (answer)
		set_flags(ctx, NFT_CTX_OUTPUT_JSON);
	if (run(ctx, commands) == 0) {
		const char *output = answer ? get_output(ctx) : "";

		write_all(pipe, output, strlen(output));
		return CHILD_DONE;
	}
	const char *text = get_error(ctx);

	write_all(pipe, text, strcspn(text, "\n"));
	return CHILD_REFUSED;
}

static int run_nft(const char *commands, char **answer, struct error *err)
{
	AUTO_FREE char *words = NULL;
	int failed = 0;
	size_t len = 0;
	int pipe[2];
	int status;

	if (pipe2(pipe, O_CLOEXEC))
		return error_set(err, errno, "cannot make a pipe: %s", strerror(errno));
	pid_t pid = fork();

	if (!pid)
		_exit(run_in_child(commands, answer, pipe[1]));
	int fork_errno = errno;

	close(pipe[1]);
	if (pid > 0)
		failed = read_whole(pipe[0], ANSWER_MAX, &words, &len);
	close(pipe[0]);
	if (pid < 0)
		return error_set(err, fork_errno, "cannot start a process for the firewall: %s",
				 strerror(fork_errno));
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return error_set(err, errno, "the firewall's process is lost: %s",
					 strerror(errno));
	if (!failed && len == ANSWER_MAX)
		failed = -EFBIG;
	if (failed)
		return error_set(err, -failed, "cannot take the firewall's answer: %s",
				 strerror(-failed));
	if (WIFEXITED(status) && WEXITSTATUS(status) == CHILD_DONE) {
		if (answer)
			*answer = steal_ptr(words);
		return 0;
	}
	if (WIFSIGNALED(status))
		return error_set(err, EINTR, "the firewall's process was killed by signal %d",
				 WTERMSIG(status));
	if (WEXITSTATUS(status) == CHILD_NO_LIBRARY)
		return error_set(err, ENOENT,
				 "libnftables is missing, which sets up the rules around a guest's "
				 "network card: install libnftables1");
	return error_set(err, EPERM, "the host's firewall (nftables) does not take the rules: %s",
			 words[0] ? words : "no reason is given");
}

int nft_run(const char *commands, struct error *err)
{
	return run_nft(commands, NULL, err);
}

int nft_query(const char *commands, char **json, struct error *err)
{
	return run_nft(commands, json, err);
}
